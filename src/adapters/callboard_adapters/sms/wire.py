"""Mitto's shapes on the wire, read tolerantly: one report or many, every spelling, nothing raises on odd values."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec

from callboard.messages.model import Fact, Reason, Receipt
from callboard_adapters.sms.errors import FACTS, REFUSED_STATUSES, word

PROVIDER = "mitto"
_MAX_ID = 255


class Sms(msgspec.Struct, frozen=True):
    """What is said and by whom."""

    text: str
    sender: str


class Send(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """``POST Messages/send``; also one entry of the bulk call."""

    destination: str
    sms: Sms
    traffic_account_id: str | None = None


class BulkSend(msgspec.Struct, frozen=True):
    """``POST Messages/sendmessagesbulk``."""

    messages: list[Send]


@attrs.frozen(kw_only=True)
class Entry:
    """One message of an answer to a send: taken exactly if ``id`` is there and ``refused`` is not."""

    id: str | None
    status: str
    refused: bool


@attrs.frozen(kw_only=True)
class InboundSms:
    """A customer's text. ``to`` is the sender that was addressed, as the provider spells it, or None."""

    from_number: str
    to: str | None
    text: str


@attrs.frozen(kw_only=True)
class Reports:
    """What a delivery report body said; ``ignored`` counts entries without an id or without news."""

    receipts: tuple[Receipt, ...]
    ignored: int


def decode(body: bytes) -> Any:
    """JSON or None: what cannot be read says nothing."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _text(value: object) -> str | None:
    """An identifier as text: providers write ids as strings and as numbers."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str | int):
        text = str(value).strip()
        return text if 0 < len(text) <= _MAX_ID and text.isprintable() else None
    return None


def _first(item: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        if item.get(name) is not None:
            return item[name]
    return None


def entries(body: bytes) -> list[Entry] | None:
    """The messages of a 2xx answer, in request order; None when it cannot be read as one."""
    read = decode(body)
    if isinstance(read, dict) and isinstance(read.get("messages"), list):
        items = read["messages"]
    elif isinstance(read, dict) and any(name in read for name in ("messageId", "id", "status")):
        items = [read]
    else:
        return None
    found = []
    for item in items:
        if not isinstance(item, dict):
            return None
        status = _first(item, "status", "deliveryStatus")
        shown = status if isinstance(status, str) else ""
        found.append(
            Entry(id=_text(_first(item, "messageId", "id")), status=shown, refused=word(shown) in REFUSED_STATUSES)
        )
    return found


def error_code(body: bytes) -> tuple[str | None, bool]:
    """The provider's word for a refusal and whether this is a provider's error body at all."""
    read = decode(body)
    if not isinstance(read, dict):
        return None, False
    inner = read.get("error")
    where = inner if isinstance(inner, dict) else read
    code = _text(_first(where, "code", "errorCode", "responseCode", "type"))
    if code is None and isinstance(inner, str):
        code = _text(inner)
    readable = code is not None or any(isinstance(where.get(name), str) for name in ("message", "title", "detail"))
    return code, readable


def _when(value: object, now: datetime) -> datetime:
    """A provider's time, or ``now`` when it is missing, unreadable or in the future."""
    at: datetime | None = None
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value.strip())
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            at = None
    return at if at is not None and at.year >= 2000 and at <= now else now


def receipt(item: Mapping[str, Any], *, now: datetime) -> Receipt | None:
    """One delivery report, or the answer of ``GET Messages/{id}``; None when it says nothing we do not know."""
    identity = _text(_first(item, "messageId", "MessageId", "message_id", "id"))
    status = _first(item, "deliveryStatus", "DeliveryStatus", "status", "Status")
    fact = FACTS.get(word(status))
    if identity is None or fact is None:
        return None
    error = _first(item, "error", "errorCode", "errorMessage")
    if isinstance(error, dict):
        error = _first(error, "code", "message")
    failed = fact is Fact.FAILED
    return Receipt(
        provider=PROVIDER,
        provider_message_id=identity,
        message_id=None,
        fact=fact,
        at=_when(_first(item, "updatedAt", "UpdatedAt", "timestamp"), now),
        reason=Reason.UNDELIVERED if failed else None,
        provider_code=(_text(error) or _text(status)) if failed else None,
    )


def reports(body: bytes, *, now: datetime) -> Reports | None:
    """A delivery report webhook: one object, an array, or ``{"messages": […]}``; None when it is none of these."""
    read = decode(body)
    if isinstance(read, dict):
        items: list[Any] = read["messages"] if isinstance(read.get("messages"), list) else [read]
    elif isinstance(read, list):
        items = read
    else:
        return None
    found = [receipt(item, now=now) if isinstance(item, dict) else None for item in items]
    known = tuple(r for r in found if r is not None)
    return Reports(receipts=known, ignored=len(found) - len(known))


def inbound(body: bytes) -> tuple[InboundSms, ...] | None:
    """An inbound text webhook: one object or an array. Entries without a number are left out; None when unreadable."""
    read = decode(body)
    items = [read] if isinstance(read, dict) else read
    if not isinstance(items, list):
        return None
    found = []
    for item in items:
        if not isinstance(item, dict):
            continue
        number = _text(_first(item, "from", "sender", "source", "msisdn"))
        text = _first(item, "text", "message", "body")
        if isinstance(text, dict):
            text = text.get("text")
        if number is not None:
            to = _text(_first(item, "to", "destination", "receiver"))
            found.append(InboundSms(from_number=number, to=to, text=text if isinstance(text, str) else ""))
    return tuple(found)


def sign(body: bytes, secret: str) -> str:
    """Lower-case hex HMAC-SHA256 of the raw body."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed(body: bytes, signatures: Iterable[str | bytes | None], secret: str | None) -> bool:
    """Whether one of the given header values (``X-Webhook-Signature``, ``X-Mitto-Signature``) signs this raw body.

    Without a secret nothing is valid. Any bytes may come in; comparison is constant-time on bytes.
    """
    if not secret:
        return False
    expected = sign(body, secret).encode()
    good = False
    for signature in signatures:
        if signature is None:
            continue
        given = signature if isinstance(signature, bytes) else signature.encode("utf-8", "surrogateescape")
        good |= hmac.compare_digest(given, expected)
    return good
