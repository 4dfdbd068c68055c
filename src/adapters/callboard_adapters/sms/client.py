"""Sending SMS through Mitto, one request per message unless a bulk size is set."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import attrs
import msgspec

from callboard.messages.model import Reason, Receipt
from callboard.messages.ports import Accepted, Ambiguous, Answer, NotSent, Refused
from callboard.messages.ports import Outbound as Message
from callboard_adapters.outbound import Exchange, Lost, NeverLeft, Outbound, Reply
from callboard_adapters.sms import wire
from callboard_adapters.sms.errors import refusal

SEND = "/api/v1.1/Messages/send"
BULK = "/api/v1.1/Messages/sendmessagesbulk"
READ = "/api/v1.1/Messages/"
MAX_WAVE = 500
_encode = msgspec.json.Encoder().encode


@attrs.frozen(kw_only=True)
class MittoSms:
    """A :class:`callboard.messages.ports.ChannelClient`. ``requests`` bounds what is in flight at once.

    With ``bulk_size`` 1 a crash leaves at most ``requests`` messages unknown; a bulk call saves round trips and puts
    its whole batch at stake.
    """

    http: Outbound
    base_url: str
    api_key: str = attrs.field(repr=False)
    sender: str
    account_id: str | None = None
    requests: int = 32
    bulk_size: int = 1
    per_second: float = 0.0

    @property
    def concurrency(self) -> int:
        """Messages per wave."""
        return min(self.requests * self.bulk_size, MAX_WAVE) if self.bulk_size > 1 else self.requests

    async def send(self, batch: Sequence[Message]) -> Sequence[Answer]:
        """One answer per message, in order; raises nothing but cancellation."""
        size = max(1, self.bulk_size)
        slots = asyncio.Semaphore(self.requests)
        slices = [batch[i : i + size] for i in range(0, len(batch), size)]

        async def one(part: Sequence[Message]) -> Sequence[Answer]:
            async with slots:
                return await (self._bulk(part) if len(part) > 1 else self._single(part[0]))

        answers = await asyncio.gather(*map(one, slices))
        return [answer for part in answers for answer in part]

    async def read(self, provider_message_id: str, *, now: datetime | None = None) -> Receipt | None:
        """What Mitto says of a message it has taken; None when it does not know or does not answer."""
        if not provider_message_id.isascii() or not provider_message_id.replace("-", "").isalnum():
            return None
        answer = await self.http.call("GET", self.base_url + READ + provider_message_id, headers=self._headers())
        if not isinstance(answer, Reply) or answer.status != 200:
            return None
        item = wire.decode(answer.body)
        return wire.receipt(item, now=now or datetime.now(UTC)) if isinstance(item, dict) else None

    def _headers(self, reference: str | None = None) -> dict[str, str]:
        headers = {"X-Mitto-API-Key": self.api_key, "content-type": "application/json"}
        if reference is not None:  # Mitto echoes nothing; this is for their support and for the twin's journal
            headers["X-Request-ID"] = reference
        return headers

    def _wire(self, message: Message) -> wire.Send:
        return wire.Send(
            destination=message.to,
            sms=wire.Sms(text=message.text, sender=self.sender),
            traffic_account_id=self.account_id,
        )

    async def _post(self, path: str, body: object, reference: str | None) -> Exchange | Refused:
        try:
            content = _encode(body)
        except (UnicodeEncodeError, msgspec.EncodeError):
            return Refused(reason=Reason.REFUSED, provider_code="text_not_encodable")
        return await self.http.call("POST", self.base_url + path, headers=self._headers(reference), content=content)

    async def _single(self, message: Message) -> Sequence[Answer]:
        return _answers(await self._post(SEND, self._wire(message), str(message.reference)), 1)

    async def _bulk(self, part: Sequence[Message]) -> Sequence[Answer]:
        body = wire.BulkSend(messages=[self._wire(message) for message in part])
        answer = await self._post(BULK, body, None)
        if isinstance(answer, Refused) or (
            isinstance(answer, Reply) and answer.status in (400, 413, 422) and wire.error_code(answer.body)[1]
        ):
            # One bad entry refuses the call as a whole and nothing of it was taken: ask one by one whose fault it is.
            return [one for message in part for one in await self._single(message)]
        return _answers(answer, len(part))


def _answers(answer: Exchange | Refused, n: int) -> Sequence[Answer]:
    """The answers to ``n`` messages of one request."""
    match answer:
        case Refused():
            return [answer] * n
        case NeverLeft(cause=cause):
            return [NotSent(reason=Reason.PROVIDER_UNREACHABLE, provider_code=cause)] * n
        case Lost(cause=cause, status=status) if status is None or status < 300 or status >= 500:
            return [Ambiguous(provider_code=cause)] * n
        case Lost(cause=cause, status=status):
            return [refusal(status or 0, None, None, readable=False)] * n
        case Reply(status=status) if 200 <= status < 300:
            return _taken(answer.body, n)
        case Reply(status=status):
            code, readable = wire.error_code(answer.body)
            return [refusal(status, code, answer.retry_after, readable=readable)] * n


def _taken(body: bytes, n: int) -> Sequence[Answer]:
    """Answers in a 2xx body. Without one entry per message nobody can say which is which: all ambiguous."""
    found = wire.entries(body)
    if found is None or len(found) != n:
        return [Ambiguous(provider_code="unreadable_answer")] * n
    return [
        Accepted(provider_message_id=entry.id)
        if entry.id is not None and not entry.refused
        else Refused(reason=Reason.REFUSED, provider_code=entry.status or "no_message_id")
        for entry in found
    ]
