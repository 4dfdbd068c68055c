"""The WhatsApp Cloud API (providers.md section 1): sends, templates, limits, signed status and message webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from callboard_adapters.sandbox.asgi import Call
from callboard_adapters.sandbox.callbacks import Callbacks, Sending, Status, Target
from callboard_adapters.sandbox.clock import DAY, Buckets
from callboard_adapters.sandbox.config import TemplateConfig, WhatsAppConfig
from callboard_adapters.sandbox.faults import FaultSpec
from callboard_adapters.sandbox.journal import Journal
from callboard_adapters.sandbox.provider import Fate, Handler, World, conclude
from callboard_adapters.sandbox.templates import Refusal, check

NORMAL: Final = ("sent", "delivered", "read")
UNREAD: Final = ("sent", "delivered")

HTTP_STATUS: Final[Mapping[int, int]] = {
    **dict.fromkeys((4, 80007, 130429), 429),
    **dict.fromkeys((0, 190), 401),
    **dict.fromkeys((10, 200, 131005, 368, 131031, 130497), 403),
    132001: 404,
    **dict.fromkeys((1, 3, 131000, 131016, 131045, 131057), 500),
    **dict.fromkeys((2, 133004), 503),
}
"""HTTP status of a code; 400 for all others."""


def _coded(code: int, *, once: bool = False, says: str, retry_after: int | None = None) -> Fate:
    return Fate(fault=FaultSpec(kind="status", code=code, retry_after=retry_after), once=once, says=says)


def _fails(code: int, says: str, *before: str) -> Fate:
    return Fate(plan=(*before, f"failed:{code}"), says=says)


MAGIC: Final[Mapping[str, Fate]] = {
    "9990001": _coded(100, says="refused at once: invalid parameter"),
    "9990002": _fails(131026, "fails later: not on WhatsApp"),
    "9990003": _fails(131049, "fails later: marketing limit of the person"),
    "9990004": _fails(131050, "fails later: the person stopped marketing"),
    "9990005": _coded(130429, once=True, retry_after=1, says="throughput error the first time"),
    "9990006": Fate(plan=(), says="accepted, never reported"),
    "9990007": Fate(fault=FaultSpec(kind="reset_after"), says="accepted, answer lost, reported"),
    "9990008": Fate(plan=(), fault=FaultSpec(kind="reset_after"), says="accepted, answer lost, never reported"),
    "9990009": _coded(131000, says="500, not accepted"),
    "9990010": Fate(plan=("sent",), says="sent, never delivered"),
    "9990011": Fate(plan=("sent", "sent", "delivered", "delivered", "read", "read"), says="every status twice"),
    "9990012": Fate(plan=("read", "delivered", "sent"), says="statuses in the wrong order"),
    "9990013": _coded(131056, once=True, says="pair limit the first time"),
    "9990014": _fails(131026, "fails after sent", "sent"),
}

ERRORS: Final[Mapping[int, str]] = {
    0: "AuthException",
    33: "Object does not exist",
    100: "Invalid parameter",
    190: "Invalid OAuth access token - Cannot parse access token",
    130429: "Rate limit hit",
    131000: "Something went wrong",
    131008: "Required parameter is missing",
    131009: "Parameter value is not valid",
    131026: "Message undeliverable",
    131047: "Re-engagement message",
    131049: "This message was not delivered to maintain healthy ecosystem engagement.",
    131050: "User's number is part of an opt-out",
    131056: "(Business Account, Consumer Account) pair rate limit hit",
    132000: "Number of parameters does not match the expected number of params",
    132001: "Template name does not exist in the translation",
    132012: "Parameter format does not match format in the created template",
    132015: "Template is Paused",
    132016: "Template is Disabled",
}

_VERSION = re.compile(r"/v\d+\.\d+(?=/)")
_TO = re.compile(r"\+?[0-9(][0-9 ()-]{5,24}")
_IN_WINDOW: Final = frozenset(
    {"text", "image", "video", "audio", "document", "sticker", "location", "contacts", "reaction", "interactive"}
)
_encode = msgspec.json.Encoder().encode


class _Send(msgspec.Struct):
    messaging_product: Any = None
    to: Any = None
    type: Any = "text"
    text: Any = None
    template: Any = None
    status: Any = None
    message_id: Any = None
    biz_opaque_callback_data: Any = None


class _Reported(msgspec.Struct, omit_defaults=True):
    id: str
    status: str
    timestamp: str
    recipient_id: str
    biz_opaque_callback_data: str | None = None
    pricing: Mapping[str, Any] | None = None
    errors: list[Mapping[str, Any]] | None = None


_read = msgspec.json.Decoder(_Send).decode
_PRICING: Final = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "marketing"}


class WhatsApp:
    """A :class:`callboard_adapters.sandbox.provider.Provider`."""

    name = "whatsapp"
    aliases = ("whatsapp-cloud", "whatsapp_cloud", "cloud")
    magic = MAGIC

    def __init__(self, world: World) -> None:
        self._world = world
        self.journal = Journal(world.config.journal)
        self._number = 0
        self._pairs, self._rates = Buckets(), Buckets()
        self._windows: dict[tuple[str, str], float] = {}
        self._met: set[str] = set()
        self._registered: tuple[tuple[TemplateConfig, ...], dict[tuple[str, str], TemplateConfig]] = ((), {})
        self.callbacks = Callbacks(
            clock=world.clock,
            http=world.http,
            config=lambda: world.config.whatsapp.callbacks,
            target=self._target,
            encode=self._statuses,
            headers=_signed,
            seed=world.config.seed,
        )

    @property
    def _config(self) -> WhatsAppConfig:
        return self._world.config.whatsapp

    def _target(self, number: str) -> Target | None:
        own = self._config.numbers.get(number)
        url = (own.webhook_url if own else None) or self._config.webhook_url
        return None if url is None else Target(url=url, secret=(own and own.app_secret) or self._config.app_secret)

    def _display(self, number: str) -> str:
        own = self._config.numbers.get(number)
        return own.display if own else "15550100000"

    def _templates(self) -> Mapping[tuple[str, str], TemplateConfig]:
        listed, index = self._registered
        if listed is not self._config.templates:
            listed = self._config.templates
            index = {(t.name, t.language): t for t in listed}
            self._registered = (listed, index)
        return index

    def match(self, method: str, path: str) -> Handler | None:
        """``POST [/vNN.N]/{number}/messages``, ``GET …/{waba}/message_templates`` and ``GET …/{number}``."""
        if method == "POST" and path.endswith("/messages"):
            return self._send
        if method == "GET" and path.endswith("/message_templates"):
            return self._list_templates
        if method == "GET" and (bare := _VERSION.match(path)) and path[bare.end() + 1 :].isdigit():
            return self._number_facts
        return None

    def error(self, fault: FaultSpec) -> tuple[int, bytes]:
        """An injected refusal."""
        code = fault.code if isinstance(fault.code, int) else 131000 if (fault.status or 500) >= 500 else 100
        status, body = self._graph(code, fault.message, subcode=fault.subcode)
        return fault.status or status, body

    def clear(self) -> None:
        """Back to the beginning; ids go on."""
        self.journal.clear()
        self.callbacks.clear()
        self._pairs.clear()
        self._rates.clear()
        self._windows.clear()
        self._met.clear()

    # --- answers ----------------------------------------------------------------------------------------------------

    def _graph(self, code: int, details: str, *, subcode: int | None = None) -> tuple[int, bytes]:
        title = ERRORS.get(code, "Error")
        error: dict[str, Any] = {
            "message": f"(#{code}) {title}",
            "type": "OAuthException",
            "code": code,
            "error_data": {"messaging_product": "whatsapp", "details": details},
            "fbtrace_id": f"A{self._world.random.getrandbits(64):016x}",
        }
        if subcode is not None:
            error["error_subcode"] = subcode
        return HTTP_STATUS.get(code, 400), _encode({"error": error})

    async def _refuse(self, call: Call, code: int, details: str, *, subcode: int | None = None) -> None:
        self.journal.refused[str(code)] += 1
        await call.answer(*self._graph(code, details, subcode=subcode))

    async def _bearer(self, call: Call, number: str | None) -> bool:
        """Whether the bearer is good for this number (or for any, when none is named); answers if not."""
        raw = call.header(b"authorization") or b""
        token = raw[7:].decode("latin-1") if raw[:7].lower() == b"bearer " else ""
        numbers = self._config.numbers
        own = numbers.get(number) if number is not None else None
        wanted = {own.token} if own else {n.token for n in numbers.values()}
        if not token or (numbers and token not in wanted and None not in wanted):
            await self._refuse(call, 190, "The access token could not be decrypted", subcode=467)
            return False
        if number is not None and numbers and own is None:
            await self._refuse(
                call, 100, "Unsupported post request. Object does not exist or cannot be loaded", subcode=33
            )
            return False
        return True

    # --- sending ----------------------------------------------------------------------------------------------------

    async def _send(self, call: Call) -> None:
        if not await call.read():
            return None
        number = _VERSION.sub("", call.path, count=1)[1:].removesuffix("/messages")
        if not await self._bearer(call, number):
            return None
        await self._world.pause(self.name)
        if not number.isdigit():
            return await self._refuse(call, 100, "Unsupported post request", subcode=33)
        try:
            sent = _read(call.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return await self._refuse(call, 100, "The body is not a JSON object")
        to = self._recipient(number, sent.to)
        fault = self._fault(call, sent, to)
        plan = None
        if fault is None:
            if sent.status == "read":
                return await call.answer(200, b'{"success":true}')
            try:
                plan = self._judge(number, sent, to)
            except Refusal as refusal:
                return await self._refuse(call, refusal.code, refusal.details)

        def accept(kind: str | None) -> tuple[bytes, Sequence[Sending]]:
            return self._take(call, number, sent, to or "", plan, kind)

        return await conclude(self._world, self, call, fault, accept)

    def _recipient(self, number: str, to: object) -> str | None:
        """E.164 digits; without a plus the country code of the business number is put in front, as Meta does."""
        if not isinstance(to, str) or not _TO.fullmatch(to):
            return None
        if to[0] == "+" and to[1:].isdigit():
            return to[1:]
        digits = "".join(c for c in to if c.isdigit())
        if to[0] != "+" and len(digits) <= 10:
            digits = self._display(number)[:-10] + digits
        return digits

    def _fate(self, to: str | None) -> Fate | None:
        if to is None or to[-7:-4] != "999" or not self._world.config.magic:
            return None
        return MAGIC.get(to[-7:])

    def _fault(self, call: Call, sent: _Send, to: str | None) -> FaultSpec | None:
        if self._world.faults.rules:
            template = sent.template if isinstance(sent.template, dict) else {}
            text = sent.text if isinstance(sent.text, dict) else {}
            fields = {
                "to": str(sent.to),
                "template": str(template.get("name", "")),
                "text": str(text.get("body", "")),
                "reference": str(sent.biz_opaque_callback_data or ""),
                "path": call.path,
            }
            if (spec := self._world.faults.pick(self.name, "send", fields)) is not None:
                return spec
        fate = self._fate(to)
        if fate is None or fate.fault is None or to is None or (fate.once and to in self._met):
            return None
        if fate.once:
            self._met.add(to)
        return fate.fault

    def _judge(self, number: str, sent: _Send, to: str | None) -> tuple[str, ...] | None:
        """What will be reported of a message Meta takes (None: the usual), or the refusal it gets at once."""
        if sent.messaging_product != "whatsapp":
            raise Refusal(100, "The parameter messaging_product is required.")
        if to is None or not 7 <= len(to) <= 15:
            raise Refusal(131009, "Param to is not valid")
        reference = sent.biz_opaque_callback_data
        if reference is not None and (not isinstance(reference, str) or len(reference) > 512):
            raise Refusal(131009, "biz_opaque_callback_data is longer than 512 characters")
        plan = None
        if sent.type == "template":
            check(sent.template, self._templates(), any_template=self._config.any_template)
        elif sent.type in _IN_WINDOW:
            plan = self._free_form(number, sent, to)
        else:
            raise Refusal(100, "Param type must be one of the message types")
        self._limits(number, to)
        return plan

    def _free_form(self, number: str, sent: _Send, to: str) -> tuple[str, ...] | None:
        if sent.type == "text":
            body = sent.text.get("body") if isinstance(sent.text, dict) else None
            if not isinstance(body, str) or not body:
                raise Refusal(131008, "text.body is required")
            if len(body) > 4096:
                raise Refusal(131009, "text.body is longer than 4096 characters")
        last = self._windows.get((number, to), 0.0)
        if self._config.window == "off" or self._world.clock.now() - last < DAY:
            return None
        if self._config.window == "answer":
            raise Refusal(131047, "More than 24 hours have passed since the customer last replied")
        return ("failed:131047",)

    def _limits(self, number: str, to: str) -> None:
        now = self._world.clock.now()
        rate = self._config.per_second
        if rate and self._rates.take(number, every=1 / rate, burst=max(rate, 1.0), now=now):
            raise Refusal(130429, "Message failed to send because there were too many messages from this number")
        if self._config.pair_limit and self._pairs.take(f"{number}:{to}", every=6.0, burst=45, now=now):
            raise Refusal(131056, "Too many messages sent from the sender to the same recipient in a short time")

    def _take(
        self, call: Call, number: str, sent: _Send, to: str, plan: tuple[str, ...] | None, fault: str | None
    ) -> tuple[bytes, Sequence[Sending]]:
        now = self._world.clock.now()
        self._number += 1
        identity = f"wamid.HBgL{self._world.config.seed:08X}{self._number:016X}AA=="
        given = sent.biz_opaque_callback_data
        reference = given if isinstance(given, str) else None
        text = sent.template if sent.type == "template" else sent.text
        self.journal.accept(
            now, call.method, call.path, call.headers, call.body, f"+{to}", repr(text), reference, identity, fault
        )
        if plan is None:
            fate = self._fate(to)
            if fate is not None and fate.plan is not None:
                plan = fate.plan
            else:
                share = self._config.read_share
                plan = NORMAL if share >= 1 or self._world.random.random() < share else UNREAD
        message = {"id": identity, "message_status": "accepted"} if sent.type == "template" else {"id": identity}
        answer = {
            "messaging_product": "whatsapp",
            "contacts": [{"input": sent.to, "wa_id": to}],
            "messages": [message],
        }
        return _encode(answer), [Sending(identity, to, reference, number, plan)]

    # --- other calls ------------------------------------------------------------------------------------------------

    async def _list_templates(self, call: Call) -> None:
        if not await call.read() or not await self._bearer(call, None):
            return
        data = [
            {
                "id": str(1_000_000_000 + i),
                "name": t.name,
                "language": t.language,
                "status": t.status,
                "category": t.category,
            }
            for i, t in enumerate(self._config.templates)
        ]
        await call.answer(200, _encode({"data": data, "paging": {"cursors": {"before": "MA", "after": "MQ"}}}))

    async def _number_facts(self, call: Call) -> None:
        number = _VERSION.sub("", call.path, count=1)[1:]
        if not await call.read() or not await self._bearer(call, number):
            return
        facts = {
            "id": number,
            "display_phone_number": self._display(number),
            "verified_name": "Callboard Sandbox",
            "quality_rating": "GREEN",
        }
        await call.answer(200, _encode(facts))

    # --- webhooks ---------------------------------------------------------------------------------------------------

    def _envelope(self, number: str, value: Mapping[str, Any], field: str = "messages") -> dict[str, Any]:
        metadata = {"display_phone_number": self._display(number), "phone_number_id": number}
        inner = {"messaging_product": "whatsapp", "metadata": metadata, **value}
        change = {"field": field, "value": inner}
        return {"object": "whatsapp_business_account", "entry": [{"id": "1000000000001", "changes": [change]}]}

    def _statuses(self, number: str, statuses: Sequence[Status]) -> bytes:
        reported = []
        for status in statuses:
            word, _, code = status.word.partition(":")
            one = _Reported(
                id=status.sending.id,
                status=word,
                timestamp=str(int(status.at)),
                recipient_id=status.sending.to,
                biz_opaque_callback_data=status.sending.reference,
            )
            if code:
                title = ERRORS.get(int(code), "Error")
                error = {"code": int(code), "title": title, "message": title, "error_data": {"details": title}}
                one.errors = [error]
            else:
                one.pricing = _PRICING
            reported.append(one)
        return _encode(self._envelope(number, {"statuses": reported}))

    async def inbound(self, what: Mapping[str, Any]) -> bool:
        """``{from, phone_number_id?, text | button | preference | message}``; opens the 24 h window.

        ``button`` is ``{payload, text}``, ``preference`` ``stop`` or ``resume``, ``message`` a raw message object.
        """
        number = str(what.get("phone_number_id") or next(iter(self._config.numbers), ""))
        sender = "".join(c for c in str(what.get("from", "")) if c.isdigit())
        target = self._target(number)
        if not sender or not number:
            raise ValueError("from and phone_number_id are needed")
        if target is None:
            raise ValueError("whatsapp.webhook_url is not configured")
        now = self._world.clock.now()
        if (preference := what.get("preference")) is not None:
            item = {"wa_id": sender, "category": "marketing_messages", "value": preference, "timestamp": int(now)}
            value = self._envelope(number, {"user_preferences": [item]}, "user_preferences")
        else:
            self._number += 1
            identity = f"wamid.HBgI{self._world.config.seed:08X}{self._number:016X}AA=="
            message: dict[str, Any] = {"from": sender, "id": identity, "timestamp": str(int(now))}
            if isinstance(what.get("message"), dict):
                message |= what["message"]
            elif what.get("button") is not None:
                message |= {"type": "button", "button": what["button"]}
            else:
                message |= {"type": "text", "text": {"body": str(what.get("text", ""))}}
            contact = {"profile": {"name": str(what.get("name", "Customer"))}, "wa_id": sender}
            value = self._envelope(number, {"contacts": [contact], "messages": [message]})
            self._windows[number, sender] = now
        # Meta signs what it sends, and it escapes non-ASCII and slashes.
        body = json.dumps(value, separators=(",", ":")).replace("/", "\\/").encode()
        return await self.callbacks.deliver(target, body)


def _signed(body: bytes, secret: str) -> Mapping[str, str]:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"content-type": "application/json", "X-Hub-Signature-256": f"sha256={signature}"}
