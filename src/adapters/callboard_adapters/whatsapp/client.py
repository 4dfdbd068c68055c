"""Sending through the WhatsApp Cloud API: templates, and texts inside the 24 h window."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import attrs
import msgspec

from callboard.messages.model import Reason
from callboard.messages.ports import Accepted, Ambiguous, Answer, NotSent, Refused
from callboard.messages.ports import Outbound as Message
from callboard_adapters.outbound import Exchange, Lost, NeverLeft, Outbound, Reply
from callboard_adapters.whatsapp import wire
from callboard_adapters.whatsapp.errors import refusal

_encode = msgspec.json.Encoder().encode


@attrs.frozen(kw_only=True)
class WhatsAppCloud:
    """A :class:`callboard.messages.ports.ChannelClient` for one number. Graph has no idempotency key and no bulk call:
    one request per message, at most ``requests`` at once.
    """

    http: Outbound
    base_url: str
    version: str
    phone_number_id: str
    access_token: str = attrs.field(repr=False)
    requests: int = 32
    per_second: float = 80.0

    @property
    def concurrency(self) -> int:
        """Messages per wave."""
        return self.requests

    @property
    def url(self) -> str:
        """``{base}/{version}/{phone-number-id}/messages``."""
        return f"{self.base_url}/{self.version}/{self.phone_number_id}/messages"

    async def send(self, batch: Sequence[Message]) -> Sequence[Answer]:
        """One answer per message, in order; raises nothing but cancellation."""
        if len(batch) <= self.requests:
            return await asyncio.gather(*map(self._one, batch))
        slots = asyncio.Semaphore(self.requests)

        async def one(message: Message) -> Answer:
            async with slots:
                return await self._one(message)

        return await asyncio.gather(*map(one, batch))

    async def _one(self, message: Message) -> Answer:
        try:
            content = _encode(wire.message_body(message))
        except (UnicodeEncodeError, msgspec.EncodeError):
            return Refused(reason=Reason.REFUSED, provider_code="text_not_encodable")
        headers = {"authorization": f"Bearer {self.access_token}", "content-type": "application/json"}
        return _answer(await self.http.call("POST", self.url, headers=headers, content=content))


def _answer(exchange: Exchange) -> Answer:
    """What became of one request."""
    match exchange:
        case NeverLeft(cause=cause):
            return NotSent(reason=Reason.PROVIDER_UNREACHABLE, provider_code=cause)
        case Lost(cause=cause, status=status) if status is None or status < 300 or status >= 500:
            return Ambiguous(provider_code=cause)
        case Lost(status=status):
            return refusal(status or 0, None, None, None)
        case Reply(status=status) if 200 <= status < 300:
            identity = wire.accepted_id(exchange.body)
            if identity is None:
                return Ambiguous(provider_code="unreadable_answer")
            return Accepted(provider_message_id=identity)
        case Reply(status=status):
            error = wire.graph_error(exchange.body)
            if error is None:
                return refusal(status, None, None, exchange.retry_after)
            return refusal(status, error.code, error.subcode, exchange.retry_after)
