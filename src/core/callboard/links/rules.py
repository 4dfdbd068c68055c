"""Where a short link may lead, how links get into a text, and who is opening one; contracts/README.md section 4."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from hashlib import sha256
from ipaddress import AddressValueError, IPv4Address
from typing import Final
from urllib.parse import quote, urlsplit
from uuid import UUID

from callboard.errors import InvalidInput
from callboard.ids import ContactId
from callboard.links.model import Link

MAX_URL: Final = 2_048
TOKEN_BYTES: Final = 9
"""Randomness of a short link's token: 72 bits, 12 characters."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\<>\"`{}|^\u2028\u2029]")
_OTHER_DOTS: Final = frozenset("\u3002\uff0e\uff61")
_URL: Final = re.compile(r"(?<![A-Za-z0-9_])https?://[^\s<>\"\\^`|]+", re.IGNORECASE)
_TRAILING: Final = ".,;:!?'*_~\u2026\u3002\u00bb\u201d\u2019"
_BRACKETS: Final = {")": "(", "]": "[", "}": "{"}
_SAFE: Final = "!#$%&'()*+,-./:;=?@[]_~"


def check_destination(url: str, *, production: bool, allowed_hosts: Collection[str] = (), field: str = "url") -> str:
    """A URL that a short link may lead to, in ASCII (other characters percent-encoded, the host in its IDNA form).

    http(s) only, https only in production; no user information, control characters, backslashes or odd spellings of
    addresses. With ``allowed_hosts`` the host must be one of them (``.example.com`` means any below it). Checked when a
    link is made and again when it is followed. Raises :class:`InvalidInput` naming ``field``.
    """
    if not url or len(url) > MAX_URL or _FORBIDDEN.search(url):
        raise InvalidInput("Not a web address", field=field)
    try:
        parts = urlsplit(url)
        port = parts.port
        host = _host(parts.hostname or "")
        path = quote(f"{parts.path}{'?' if parts.query else ''}{parts.query}", safe=_SAFE)
        fragment = quote(parts.fragment, safe=_SAFE)
    except (ValueError, UnicodeError):
        raise InvalidInput("Not a web address", field=field) from None
    if parts.scheme not in {"http", "https"} or "@" in parts.netloc or path[:1] not in {"", "/", "?"}:
        raise InvalidInput("Not a web address", field=field)
    if production and parts.scheme != "https":
        raise InvalidInput("Must start with https://", field=field)
    if allowed_hosts and not any(_allows(allowed.lower(), host) for allowed in allowed_hosts):
        raise InvalidInput("This host is not on the list of allowed hosts", field=field)
    authority = host if port is None else f"{host}:{port}"
    return f"{parts.scheme}://{authority}{path}{'#' if fragment else ''}{fragment}"


def _host(name: str) -> str:
    """A DNS name or a plainly written IPv4 address; ValueError for anything a browser might read in another way."""
    if not name or not _OTHER_DOTS.isdisjoint(name):
        raise ValueError
    host = name.lower() if name.isascii() else name.encode("idna").decode("ascii")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError
    if labels[-1][0].isdigit():  # also 0x7f000001, 2130706433, 127.1
        try:
            IPv4Address(host)
        except AddressValueError:
            raise ValueError from None
    return host


def _allows(allowed: str, host: str) -> bool:
    bare = allowed.removeprefix("*")
    return host.endswith(bare) if bare.startswith(".") else host == bare


# --- links in a text ----------------------------------------------------------------------------------------------


def extract_urls(text: str) -> list[str]:
    """The distinct http(s) URLs of a text in order, without the punctuation that follows them.

    A URL with a placeholder inside differs from person to person: it is none of these.
    """
    found: list[str] = []

    def keep(url: str) -> str:
        found.append(url)
        return url

    shorten_urls(text, keep)
    return found


def shorten_urls(text: str, make: Callable[[str], str]) -> str:
    """The text with each URL replaced by ``make(url)``, called once per distinct URL; everything else stays."""
    made: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        url = _trim(match[0])
        rest = match[0][len(url) :]
        if "{{" in url or not url.partition("://")[2]:
            return match[0]
        if url not in made:
            made[url] = make(url)
        return made[url] + rest

    return _URL.sub(replace, text)


def _trim(url: str) -> str:
    """Cut punctuation that ends a sentence, and a closing bracket that was not opened inside the URL."""
    depth = {opening: url.count(opening) - url.count(closing) for closing, opening in _BRACKETS.items()}
    end = len(url)
    while end:
        last = url[end - 1]
        if last in _TRAILING:
            end -= 1
        elif last in _BRACKETS and depth[_BRACKETS[last]] < 0:
            depth[_BRACKETS[last]] += 1
            end -= 1
        else:
            break
    return url[:end]


# --- following a link ---------------------------------------------------------------------------------------------


def looks_like_token(text: str) -> bool:
    """Whether it is worth a look-up."""
    return _TOKEN.fullmatch(text) is not None


def expired(link: Link, now: datetime) -> bool:
    """From ``expires_at`` on."""
    return link.expires_at is not None and now >= link.expires_at


_MACHINES: Final = re.compile(
    # "cubot" is a maker of telephones
    r"(?<!cu)bot\b|crawl|spider|slurp|preview|facebookexternalhit|facebookcatalog|meta-externalagent|^whatsapp/"
    r"|snapchat ads|skypeuripreview|google-safety|googleother|google-read-aloud|googleimageproxy|bingpreview"
    r"|embedly|iframely|vkshare|flipboard|mediapartners|headlesschrome|safelinks|proofpoint|barracuda|mimecast"
    r"|urlscan|virustotal|pingdom|uptimerobot|statuscake",
    re.IGNORECASE,
)


def counts_as_click(*, method: str, agent: str, purpose: str = "") -> bool:
    """Whether a person opens the link: not HEAD, no link-preview or scanning agent, no prefetch (``Sec-Purpose``)."""
    return method == "GET" and not _MACHINES.search(agent[:512]) and "prefetch" not in purpose.lower()


# --- unsubscribing ------------------------------------------------------------------------------------------------

_UNSUBSCRIBE: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_SIGNATURE: Final = 8


def unsubscribe_token(contact: ContactId, key: bytes) -> str:
    """32 URL-safe characters that name a contact and cannot be made without the key; they never expire."""
    return base64.urlsafe_b64encode(contact.bytes + _signature(contact.bytes, key)).decode("ascii")


def verify_unsubscribe(token: str, keys: Sequence[bytes]) -> ContactId | None:
    """Whose token this is, None for a forged one. Any of the keys may have signed it, so that keys can be rotated."""
    if not _UNSUBSCRIBE.fullmatch(token):
        return None
    raw = base64.urlsafe_b64decode(token)
    body, signature = raw[:-_SIGNATURE], raw[-_SIGNATURE:]
    good = [hmac.compare_digest(signature, _signature(body, key)) for key in keys]
    return ContactId(UUID(bytes=body)) if any(good) else None


def _signature(body: bytes, key: bytes) -> bytes:
    if not key:
        raise ValueError("an unsubscribe token needs a secret key")
    return hmac.digest(key, b"callboard/unsubscribe:" + body, sha256)[:_SIGNATURE]
