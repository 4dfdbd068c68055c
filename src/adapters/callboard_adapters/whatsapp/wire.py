"""Graph's shapes on the wire: what we send, and webhooks read tolerantly (ids and times as text or numbers)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec

from callboard.errors import InvalidInput
from callboard.ids import MessageId
from callboard.messages.model import Fact, Receipt
from callboard.messages.ports import Outbound as Message
from callboard_adapters.whatsapp.errors import failure

PROVIDER = "whatsapp"
_MAX_ID = 512


# --- what we send ---------------------------------------------------------------------------------------------------


def message_body(message: Message) -> dict[str, object]:
    """The JSON of one send. A template where the content names one, else a text (only good inside the 24 h window).

    ``biz_opaque_callback_data`` is our message id: it comes back inside every status of this message.
    """
    body: dict[str, object] = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": message.to,
        "biz_opaque_callback_data": str(message.reference),
    }
    template = message.content.template
    if template is None:
        return body | {"type": "text", "text": {"body": message.text, "preview_url": False}}
    components: list[dict[str, object]] = []
    if template.header_image is not None:
        image = {"type": "image", "image": {"link": template.header_image}}
        components.append({"type": "header", "parameters": [image]})
    if message.parameters:
        components.append({"type": "body", "parameters": [{"type": "text", "text": p} for p in message.parameters]})
    if message.button_suffix is not None:
        suffix = [{"type": "text", "text": message.button_suffix}]
        components.append({"type": "button", "sub_type": "url", "index": "0", "parameters": suffix})
    filled: dict[str, object] = {"name": template.name, "language": {"code": template.language}}
    if components:
        filled["components"] = components
    return body | {"type": "template", "template": filled}


# --- what comes back at once ----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class GraphError:
    """``error`` of a Graph answer: the code decides, the rest is for people."""

    code: int
    subcode: int | None
    message: str
    trace: str | None


def decode(body: bytes) -> Any:
    """JSON or None."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _int(value: object) -> int | None:
    """Numbers written as numbers or as digits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and 0 < len(value) < 19 and value.isascii() and value.lstrip("-").isdigit():
        try:
            return int(value)
        except ValueError:
            return None
    return None


def _text(value: object) -> str | None:
    """Identifiers written as text or as numbers; None for anything a column could not hold."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value)
    return text if 0 < len(text) <= _MAX_ID and text.isprintable() else None


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def accepted_id(body: bytes) -> str | None:
    """The ``wamid`` of a 2xx answer; None when it is not there."""
    for message in _dicts(_dict(decode(body)).get("messages")):
        return _text(message.get("id"))
    return None


def graph_error(body: bytes) -> GraphError | None:
    """The Graph error of a body; None when this is not one."""
    error = _dict(_dict(decode(body)).get("error"))
    code = _int(error.get("code"))
    if code is None:
        return None
    return GraphError(
        code=code,
        subcode=_int(error.get("error_subcode")),
        message=str(error.get("message") or ""),
        trace=_text(error.get("fbtrace_id")),
    )


# --- webhooks -------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class InboundMessage:
    """Something a person sent. ``from_number`` is digits without plus and may be absent (user names).

    ``text`` is what they said or tapped (title of a button or list row, caption of a medium); ``payload`` the id behind
    a tap; ``media_id`` names a medium; ``replies_to`` is the id of the message they answered.
    """

    id: str
    type: str
    at: datetime
    from_number: str | None
    user_id: str | None
    name: str | None
    text: str
    payload: str | None
    media_id: str | None
    replies_to: str | None


@attrs.frozen(kw_only=True)
class Preference:
    """A person stopped (``stop``) or resumed marketing from this number."""

    phone: str
    stopped: bool
    at: datetime


@attrs.frozen(kw_only=True)
class NumberUpdate:
    """What one notification says about one of our numbers. The signature must be that number's."""

    phone_number_id: str
    receipts: tuple[Receipt, ...] = ()
    inbound: tuple[InboundMessage, ...] = ()
    preferences: tuple[Preference, ...] = ()


def _when(value: object, now: datetime) -> datetime:
    """Unix seconds as text or number; ``now`` when missing, odd or in the future."""
    seconds = _int(value)
    if seconds is None or not 946_684_800 <= seconds <= now.timestamp():
        return now
    return datetime.fromtimestamp(seconds, UTC)


def _reference(value: object) -> MessageId | None:
    if not isinstance(value, str):
        return None
    try:
        return MessageId.parse(value)
    except InvalidInput:
        return None


def _receipt(status: Mapping[str, Any], now: datetime) -> Receipt | None:
    """One status; None for words that say nothing about delivery (``played``, ``deleted``, …)."""
    identity = _text(status.get("id"))
    try:
        fact = Fact(status["status"])
    except (KeyError, ValueError, TypeError):
        return None
    if identity is None:
        return None
    reason, code, opted_out = None, None, False
    if fact is Fact.FAILED:
        error = next(_dicts(status.get("errors")), {})
        number = _int(error.get("code"))
        reason, opted_out = failure(number)
        code = str(number) if number is not None else None
    return Receipt(
        provider=PROVIDER,
        provider_message_id=identity,
        message_id=_reference(status.get("biz_opaque_callback_data")),
        fact=fact,
        at=_when(status.get("timestamp"), now),
        reason=reason,
        provider_code=code,
        opted_out=opted_out,
    )


_MEDIA = ("image", "video", "audio", "document", "sticker")


def _said(message: Mapping[str, Any], kind: str) -> tuple[str, str | None, str | None]:
    """Text, payload and media id of an inbound message of any type."""
    part = _dict(message.get(kind))
    text: object = ""
    payload: object = None
    media: object = None
    if kind == "text":
        text = part.get("body")
    elif kind == "button":
        text, payload = part.get("text"), part.get("payload")
    elif kind == "interactive":
        reply = _dict(part.get("button_reply")) or _dict(part.get("list_reply"))
        flow = _dict(part.get("nfm_reply"))
        text, payload = reply.get("title") or flow.get("body"), reply.get("id") or flow.get("response_json")
    elif kind in _MEDIA:
        text, media = part.get("caption"), part.get("id")
    elif kind == "reaction":
        text, payload = part.get("emoji"), part.get("message_id")
    elif kind == "system":
        text = part.get("body")
    return text if isinstance(text, str) else "", payload if isinstance(payload, str) else None, _text(media)


def _inbound(value: Mapping[str, Any], now: datetime) -> Iterator[InboundMessage]:
    contacts = list(_dicts(value.get("contacts")))
    by_number = {_text(c.get("wa_id")): c for c in contacts}
    for message in _dicts(value.get("messages")):
        identity = _text(message.get("id"))
        if identity is None:
            continue
        kind = message["type"] if isinstance(message.get("type"), str) else "unknown"
        number = _text(message.get("from"))
        contact = by_number.get(number) or (contacts[0] if len(contacts) == 1 else {})
        name = _dict(contact.get("profile")).get("name")
        text, payload, media = _said(message, kind)
        yield InboundMessage(
            id=identity,
            type=kind,
            at=_when(message.get("timestamp"), now),
            from_number=number,
            user_id=_text(message.get("user_id")) or _text(contact.get("user_id")),
            name=name if isinstance(name, str) else None,
            text=text,
            payload=payload,
            media_id=media,
            replies_to=_text(_dict(message.get("context")).get("id")),
        )


def _preferences(value: Mapping[str, Any], now: datetime) -> Iterator[Preference]:
    for item in _dicts(value.get("user_preferences")):
        number = _text(item.get("wa_id"))
        word = item.get("value")
        if number is not None and item.get("category") == "marketing_messages" and word in ("stop", "resume", "signup"):
            yield Preference(phone=number, stopped=word == "stop", at=_when(item.get("timestamp"), now))


def _changes(body: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """``(phone number id, value)`` of every change that names a number."""
    read = _dict(decode(body))
    if read.get("object") != "whatsapp_business_account":
        return
    for entry in _dicts(read.get("entry")):
        for change in _dicts(entry.get("changes")):
            value = _dict(change.get("value"))
            number = _text(_dict(value.get("metadata")).get("phone_number_id"))
            if number is not None:
                yield number, value


def numbers(body: bytes) -> frozenset[str]:
    """The phone number ids a notification names: whose secrets to check it with. Reading it trusts nothing."""
    return frozenset(number for number, _ in _changes(body))


def updates(body: bytes, *, now: datetime) -> tuple[NumberUpdate, ...]:
    """A notification, per number; unknown fields, types and statuses are left out, nothing raises."""
    found: dict[str, NumberUpdate] = {}
    for number, value in _changes(body):
        receipts = tuple(r for s in _dicts(value.get("statuses")) if (r := _receipt(s, now)) is not None)
        before = found.get(number) or NumberUpdate(phone_number_id=number)
        found[number] = attrs.evolve(
            before,
            receipts=before.receipts + receipts,
            inbound=before.inbound + tuple(_inbound(value, now)),
            preferences=before.preferences + tuple(_preferences(value, now)),
        )
    return tuple(found.values())


def sign(body: bytes, secret: str) -> str:
    """``sha256=`` and lower-case hex HMAC-SHA256 of the raw body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed(body: bytes, signature: str | bytes | None, secrets: Iterable[str]) -> bool:
    """Whether ``X-Hub-Signature-256`` signs this raw body with one of the app secrets of the number it names.

    Without a secret nothing is valid. Any bytes may come in; comparison is constant-time on bytes.
    """
    if signature is None:
        return False
    given = signature if isinstance(signature, bytes) else signature.encode("utf-8", "surrogateescape")
    good = False
    for secret in secrets:
        if secret:
            good |= hmac.compare_digest(given, sign(body, secret).encode())
    return good


def challenge(query: Mapping[str, str], verify_token: str | None) -> str | None:
    """The text to answer Meta's subscription check with, exactly; None means 403. An unset token opens nothing."""
    token = query.get("hub.verify_token", "").encode("utf-8", "surrogateescape")
    if not verify_token or query.get("hub.mode") != "subscribe":
        return None
    return query.get("hub.challenge") if hmac.compare_digest(token, verify_token.encode()) else None
