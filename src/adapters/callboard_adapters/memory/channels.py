"""A provider that lives in memory, and hints that only get written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import attrs

from callboard.errors import NotConfigured
from callboard.ids import TenantId
from callboard.messages.model import Fact, Reason, Receipt
from callboard.messages.ports import Accepted, Answer, ChannelClient, Outbound
from callboard.tenants.model import Channel
from callboard_adapters.memory.scope import Checkpoint, no_checkpoint

Script = Callable[[Outbound], Answer | None]
"""What the provider says to one message; None means that it takes it."""


def in_turn(*answers: Answer | None) -> Script:
    """A script that gives these answers one after the other, and then takes everything."""
    left = iter(answers)
    return lambda _: next(left, None)


@attrs.define(kw_only=True)
class MemoryChannel:
    """A provider. ``asked`` is everything that reached it, ``accepted`` what it took, in order.

    Its own message ids count per instance: ``<name>-1``, ``<name>-2``, …
    """

    name: str = "memory"
    concurrency: int = 32
    per_second: float = 0.0
    script: Script = attrs.field(default=lambda _: None)
    checkpoint: Checkpoint = no_checkpoint
    asked: list[Outbound] = attrs.field(factory=list)
    accepted: list[tuple[str, Outbound]] = attrs.field(factory=list)

    async def send(self, batch: Sequence[Outbound]) -> Sequence[Answer]:
        """One answer each, in order; what raises in a checkpoint is a provider call that was cut off."""
        await self.checkpoint("before channel.send")
        answers = [self._answer(message) for message in batch]
        await self.checkpoint("after channel.send")
        return answers

    def _answer(self, message: Outbound) -> Answer:
        self.asked.append(message)
        said = self.script(message)
        if said is None:
            said = Accepted(provider_message_id=f"{self.name}-{len(self.accepted) + 1}")
        if isinstance(said, Accepted):
            self.accepted.append((said.provider_message_id, message))
        return said

    def receipts(self, fact: Fact, *, at: datetime, reason: Reason | None = None) -> list[Receipt]:
        """What it would report of everything it has taken."""
        return [
            Receipt(
                provider=self.name,
                provider_message_id=provider_message_id,
                message_id=message.reference,
                fact=fact,
                at=at,
                reason=reason,
            )
            for provider_message_id, message in self.accepted
        ]


@attrs.define
class MemoryChannels:
    """The same providers for everybody, or one for each (tenant, channel)."""

    shared: dict[Channel, ChannelClient] = attrs.field(factory=dict)
    own: dict[tuple[TenantId, Channel], ChannelClient] = attrs.field(factory=dict)

    async def client(self, tenant: TenantId, channel: Channel) -> ChannelClient:
        """NotConfigured when there is none."""
        found = self.own.get((tenant, channel), self.shared.get(channel))
        if found is None:
            raise NotConfigured(f"No provider for {channel.value}", channel=channel.value)
        return found


@attrs.define
class MemoryHints:
    """Hints that wake nobody: ``heard`` is what was said. The sweep must find the work, as it must with any broker."""

    heard: list[tuple[str, tuple[str, ...]]] = attrs.field(factory=list)

    async def wake(self, queue: str, *arguments: str) -> None:
        """Write it down."""
        self.heard.append((queue, arguments))

    def take(self, queue: str) -> Iterable[tuple[str, ...]]:
        """The arguments of the hints for one queue since the last call."""
        found = [arguments for name, arguments in self.heard if name == queue]
        self.heard = [hint for hint in self.heard if hint[0] != queue]
        return found
