"""Mitto as far as it is known (providers.md section 7): sends, bulk, reading back, reports, customer texts."""

from __future__ import annotations

import hashlib
import hmac
import re
from array import array
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from callboard_adapters.sandbox.asgi import Call
from callboard_adapters.sandbox.callbacks import Callbacks, Sending, Status, Target
from callboard_adapters.sandbox.clock import Buckets
from callboard_adapters.sandbox.config import MittoConfig
from callboard_adapters.sandbox.faults import FaultSpec
from callboard_adapters.sandbox.journal import Journal
from callboard_adapters.sandbox.provider import Fate, Handler, World, conclude

SEND: Final = "/api/v1.1/Messages/send"
BULK: Final = "/api/v1.1/Messages/sendmessagesbulk"
MESSAGES: Final = "/api/v1.1/Messages/"
NORMAL: Final = ("Sent", "Delivered")

MAGIC: Final[Mapping[str, Fate]] = {
    "9990001": Fate(fault=FaultSpec(kind="status", status=400, code="invalid_destination"), says="refused at once"),
    "9990002": Fate(plan=("Sent", "Failure:UNDELIVERED"), says="fails after sending"),
    "9990003": Fate(plan=("Sent", "Failure:EXPIRED"), says="expires"),
    "9990004": Fate(plan=("Failure:REJECTED",), says="rejected by the operator, never sent"),
    "9990005": Fate(
        fault=FaultSpec(kind="status", status=429, code="throttled", retry_after=1),
        once=True,
        says="429 the first time",
    ),
    "9990006": Fate(plan=(), says="accepted, never reported"),
    "9990007": Fate(fault=FaultSpec(kind="reset_after"), says="accepted, answer lost, reported"),
    "9990008": Fate(plan=(), fault=FaultSpec(kind="reset_after"), says="accepted, answer lost, never reported"),
    "9990009": Fate(fault=FaultSpec(kind="status", status=500), says="500, not accepted"),
    "9990010": Fate(plan=("Sent",), says="sent, never delivered"),
    "9990011": Fate(plan=("Sent", "Sent", "Delivered", "Delivered"), says="every report twice"),
    "9990012": Fate(plan=("Delivered", "Sent"), says="reports in the wrong order"),
    "9990013": Fate(fault=FaultSpec(kind="reject"), says="200 with status Rejected"),
    "9990014": Fate(fault=FaultSpec(kind="no_id"), says="200 without a message id"),
}

_DESTINATION = re.compile(r"\+?[1-9][0-9]{6,14}")
_SENDER = re.compile(r"\+?[0-9]{3,15}|[A-Za-z0-9 .&_-]{1,11}")
_encode = msgspec.json.Encoder().encode


class _Text(msgspec.Struct):
    text: str
    sender: str


class _Message(msgspec.Struct):
    destination: str
    sms: _Text
    trafficAccountId: str | None = None  # noqa: N815 - the wire's name


class _Bulk(msgspec.Struct):
    messages: list[msgspec.Raw]


class _Report(msgspec.Struct, omit_defaults=True):
    messageId: str  # noqa: N815
    deliveryStatus: str  # noqa: N815
    updatedAt: str  # noqa: N815
    error: str | None = None


_read_message = msgspec.json.Decoder(_Message).decode
_read_bulk = msgspec.json.Decoder(_Bulk).decode


def _refusal(status: int, code: str, message: str) -> tuple[int, bytes]:
    return status, _encode({"error": {"code": code, "message": message}})


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Mitto:
    """A :class:`callboard_adapters.sandbox.provider.Provider`."""

    name = "sms"
    aliases = ("mitto",)
    magic = MAGIC

    def __init__(self, world: World) -> None:
        self._world = world
        self.journal = Journal(world.config.journal)
        self._buckets = Buckets()
        self._created = array("d")
        self._plans: dict[int, tuple[str, ...]] = {}
        self._met: set[str] = set()
        self.callbacks = Callbacks(
            clock=world.clock,
            http=world.http,
            config=lambda: world.config.sms.callbacks,
            target=self._target,
            encode=_reports,
            headers=_signed,
            seed=world.config.seed,
        )

    @property
    def _config(self) -> MittoConfig:
        return self._world.config.sms

    def _target(self, key: str) -> Target | None:
        url = self._config.delivery_url
        return None if url is None else Target(url=url, secret=self._config.secret or key)

    def match(self, method: str, path: str) -> Handler | None:
        """Mitto's paths."""
        if method == "POST":
            return {SEND: self._send, BULK: self._bulk}.get(path)
        if method == "GET" and path.startswith(MESSAGES):
            return self._look_up
        return None

    def error(self, fault: FaultSpec) -> tuple[int, bytes]:
        """An injected refusal."""
        return _refusal(fault.status or 500, str(fault.code or "injected"), fault.message)

    def clear(self) -> None:
        """Back to the beginning; ids go on, so that late reports of before match nothing."""
        self.journal.clear()
        self.callbacks.clear()
        self._buckets.clear()
        self._plans.clear()
        self._met.clear()

    # --- calls ------------------------------------------------------------------------------------------------------

    async def _key(self, call: Call) -> str | None:
        """The API key, or None after a 401."""
        raw = call.header(b"x-mitto-api-key")
        key = raw.decode("latin-1") if raw else ""
        keys = self._config.keys
        if not key or (keys and key not in keys):
            await self._refuse(call, *_refusal(401, "unauthorized", "The API key is missing or wrong"))
            return None
        return key

    async def _refuse(self, call: Call, status: int, body: bytes, retry_after: int | None = None) -> None:
        self.journal.refused[str(status)] += 1
        extra = [] if retry_after is None else [(b"retry-after", str(retry_after).encode())]
        await call.answer(status, body, extra)

    def _problem(self, message: _Message) -> tuple[int, bytes] | None:
        """Why Mitto would not take this message."""
        if not _DESTINATION.fullmatch(message.destination):
            return _refusal(400, "invalid_destination", "The destination is not a phone number")
        if not _SENDER.fullmatch(message.sms.sender):
            return _refusal(400, "invalid_sender", "The sender is neither 1-11 characters nor a number")
        if not message.sms.text or len(message.sms.text) > 1600:
            return _refusal(400, "invalid_text", "The text is empty or too long")
        return None

    def _throttled(self, key: str, n: int) -> int | None:
        """Seconds until the key may send again, None when it may now."""
        rate = self._config.per_second
        if not rate:
            return None
        now = self._world.clock.now()
        wait = max(self._buckets.take(key, every=1 / rate, burst=max(rate, n), now=now) for _ in range(n))
        return max(1, round(wait)) if wait else None

    async def _send(self, call: Call) -> None:
        if not await call.read() or (key := await self._key(call)) is None:
            return None
        await self._world.pause(self.name)
        try:
            message = _read_message(call.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return await self._refuse(call, *_refusal(400, "invalid_json", "The body is not a message"))
        entry, fault = self._fates(call, message)
        fault = self._call_fault(call, message) or fault
        if fault is None:
            if (problem := self._problem(message)) is not None:
                return await self._refuse(call, *problem)
            if (wait := self._throttled(key, 1)) is not None:
                return await self._refuse(call, *_refusal(429, "throttled", "Too many requests"), wait)

        def accept(kind: str | None) -> tuple[bytes, Sequence[Sending]]:
            shown, sending = self._take(call, key, message, call.body, entry, kind)
            return _encode({"messages": [shown]}), [sending] if sending else []

        return await conclude(self._world, self, call, fault, accept)

    async def _bulk(self, call: Call) -> None:
        if not await call.read() or (key := await self._key(call)) is None:
            return None
        await self._world.pause(self.name)
        try:
            raws = _read_bulk(call.body).messages
            messages = [_read_message(raw) for raw in raws]
        except (msgspec.DecodeError, UnicodeDecodeError):
            return await self._refuse(call, *_refusal(400, "invalid_json", "The body is not a list of messages"))
        if not messages or len(messages) > self._config.bulk_limit:
            return await self._refuse(call, *_refusal(400, "invalid_bulk", "No messages, or too many"))
        for message in messages:
            if (problem := self._problem(message)) is not None:
                return await self._refuse(call, *problem)
        if (wait := self._throttled(key, len(messages))) is not None:
            return await self._refuse(call, *_refusal(429, "throttled", "Too many requests"), wait)
        fault = self._call_fault(call, messages[0])

        def accept(kind: str | None) -> tuple[bytes, Sequence[Sending]]:
            shown, sendings = [], []
            for raw, message in zip(raws, messages, strict=True):
                entry, whole = self._fates(call, message)
                if entry is None and whole is not None and not whole.accepts:
                    entry = FaultSpec(kind="reject")  # a magic refusal of one entry must not refuse its neighbours
                one, sending = self._take(call, key, message, bytes(raw), entry, kind)
                shown.append(one)
                sendings.extend([sending] if sending else [])
            bulk = f"bulk-{self._world.config.seed:08x}-{len(self._created):08x}"
            return _encode({"bulkId": bulk, "messages": shown}), sendings

        return await conclude(self._world, self, call, fault, accept)

    def _fields(self, call: Call, message: _Message) -> dict[str, str]:
        reference = call.header(b"x-request-id")
        return {
            "to": message.destination,
            "text": message.sms.text,
            "sender": message.sms.sender,
            "reference": reference.decode("latin-1") if reference else "",
            "path": call.path,
        }

    def _call_fault(self, call: Call, message: _Message) -> FaultSpec | None:
        if not self._world.faults.rules:
            return None
        return self._world.faults.pick(self.name, "send", self._fields(call, message))

    def _fates(self, call: Call, message: _Message) -> tuple[FaultSpec | None, FaultSpec | None]:
        """What hits this one message: inside the answer, and the call as a whole (by its number)."""
        entry = None
        if self._world.faults.rules:
            entry = self._world.faults.pick(self.name, "send", self._fields(call, message), entry=True)
        fate = self._fate(message.destination)
        if fate is None or fate.fault is None:
            return entry, None
        if fate.once:
            if message.destination in self._met:
                return entry, None
            self._met.add(message.destination)
        if fate.fault.kind in {"reject", "no_id"}:
            return fate.fault, None
        return entry, fate.fault

    def _fate(self, to: str) -> Fate | None:
        if to[-7:-4] != "999" or not self._world.config.magic:
            return None
        return MAGIC.get(to[-7:])

    def _take(
        self, call: Call, key: str, message: _Message, body: bytes, entry: FaultSpec | None, fault: str | None
    ) -> tuple[dict[str, str], Sending | None]:
        """Accept one message (or refuse it inside the answer): its line of the answer and what is reported of it."""
        if entry is not None:
            self.journal.faults[entry.kind] += 1
            self.journal.refused[f"fault_{entry.kind}"] += 1
            return ({"messageId": "", "status": "Rejected"} if entry.kind == "reject" else {"status": "Accepted"}), None
        now = self._world.clock.now()
        number = len(self._created)
        self._created.append(now)
        identity = f"{self._world.config.seed:08x}-0000-4000-8000-{number:012x}"
        reference = call.header(b"x-request-id")
        mine = reference.decode("latin-1") if reference else None
        self.journal.accept(
            now,
            call.method,
            call.path,
            call.headers,
            body,
            message.destination,
            message.sms.text,
            mine,
            identity,
            fault,
        )
        fate = self._fate(message.destination)
        plan = NORMAL if fate is None or fate.plan is None else fate.plan
        if plan is not NORMAL:
            self._plans[number] = plan
        sending = Sending(identity, message.destination, mine, key, plan)
        return {"messageId": identity, "status": "Accepted"}, sending

    async def _look_up(self, call: Call) -> None:
        """``GET Messages/{id}``: what would be reported by now, whether or not a report was posted."""
        if not await call.read() or await self._key(call) is None:
            return None
        await self._world.pause(self.name)
        fault = self._world.faults.pick(self.name, "read", {"path": call.path}) if self._world.faults.rules else None
        head, _, tail = call.path.removeprefix(MESSAGES).rpartition("-")
        known = head == f"{self._world.config.seed:08x}-0000-4000-8000" and re.fullmatch(r"[0-9a-f]{12}", tail)
        number = int(tail, 16) if known else -1
        if not 0 <= number < len(self._created):
            return await self._refuse(call, *_refusal(404, "not_found", "No such message"))

        def accept(_kind: str | None) -> tuple[bytes, Sequence[Sending]]:
            status, at = "Queued", self._created[number]
            delays, now = self._config.callbacks.delay_ms or (0.0,), self._world.clock.now()
            updated = at
            for position, word in enumerate(self._plans.get(number, NORMAL)):
                at += delays[min(position, len(delays) - 1)] / 1000
                if at > now:
                    break
                status, updated = word.partition(":")[0], at
            return _encode(
                {
                    "messageId": call.path.removeprefix(MESSAGES),
                    "deliveryStatus": status,
                    "createdAt": _iso(self._created[number]),
                    "updatedAt": _iso(updated),
                }
            ), []

        return await conclude(self._world, self, call, fault, accept)

    async def inbound(self, what: Mapping[str, Any]) -> bool:
        """``{from, to, text}``: a customer's text to the inbound address."""
        url = self._config.inbound_url
        if url is None:
            raise ValueError("sms.inbound_url is not configured")
        if not what.get("from"):
            raise ValueError("from is missing")
        secret = self._config.secret or next(iter(self._config.keys), "")
        body = _encode({name: what[name] for name in ("from", "to", "text") if name in what})
        return await self.callbacks.deliver(Target(url=url, secret=secret), body)


def _reports(_key: str, statuses: Sequence[Status]) -> bytes:
    """One object alone, an array of several, as both exist."""
    reports = []
    for status in statuses:
        word, _, error = status.word.partition(":")
        reports.append(_Report(status.sending.id, word, _iso(status.at), error or None))
    return _encode(reports[0] if len(reports) == 1 else reports)


def _signed(body: bytes, secret: str) -> Mapping[str, str]:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"content-type": "application/json", "X-Webhook-Signature": signature, "X-Mitto-Signature": signature}
