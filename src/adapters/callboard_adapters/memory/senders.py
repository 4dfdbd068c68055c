"""A tenant's sending numbers: paused or not, and booked until when."""

from __future__ import annotations

from datetime import datetime, timedelta

from callboard.messages.ports import SenderState
from callboard.tenants.model import Channel
from callboard_adapters.memory.scope import TenantRepository, port


class MemorySenders(TenantRepository):
    """One row per channel."""

    name = "senders"

    @port
    def state(self, channel: Channel) -> SenderState:
        return self._mine.senders.get(channel, SenderState())

    @port
    def pause(self, channel: Channel, *, until: datetime, reason: str) -> None:
        self._mine.senders.put(channel, SenderState(paused_until=until, reason=reason))

    @port
    def resume(self, channel: Channel) -> None:
        self._mine.senders.drop(channel)

    @port
    def reserve(self, channel: Channel, n: int, *, per_second: float, now: datetime) -> datetime:
        if per_second <= 0:
            return now
        start = max(now, self._mine.next_slots.get(channel, now))
        self._mine.next_slots.put(channel, start + timedelta(seconds=n / per_second))
        return start
