"""A tenant's sending numbers: paused or not, and booked until when, for all processes together."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, bindparam, select, text

from callboard.messages.ports import SenderState
from callboard.tenants.model import Channel
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.dialect import insert_into
from callboard_adapters.sql.scope import Scope

s = t.senders.c


class SqlSenders:
    """One row per channel."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def state(self, channel: Channel) -> SenderState:
        row = (await self._scope.connection.execute(_STATE, self._mine(channel))).first()
        return SenderState() if row is None else SenderState(paused_until=row.paused_until, reason=row.reason)

    async def pause(self, channel: Channel, *, until: datetime, reason: str) -> None:
        await self._put(channel, {"paused_until": until, "reason": reason})

    async def resume(self, channel: Channel) -> None:
        await self._put(channel, {"paused_until": None, "reason": None})

    async def reserve(self, channel: Channel, n: int, *, per_second: float, now: datetime) -> datetime:
        """Locks the sender's row until the transaction ends; booking nothing (``n`` 0) only reads."""
        if per_second <= 0:
            return now
        if n == 0:
            row = (await self._scope.connection.execute(_STATE, self._mine(channel))).first()
            return now if row is None or row.next_slot_at is None else max(now, row.next_slot_at)
        booked = timedelta(seconds=n / per_second)
        if self._scope.sqlite:
            start = await self.reserve(channel, 0, per_second=per_second, now=now)
            await self._put(channel, {"next_slot_at": start + booked})
            return start
        values = {**self._mine(channel), "now": now, "booked": booked}
        end: datetime = (await self._scope.connection.execute(_BOOK, values)).scalar_one()
        return end - booked

    async def _put(self, channel: Channel, values: dict[str, Any]) -> None:
        row = insert_into(t.senders, is_sqlite=self._scope.sqlite).values(
            tenant_id=self._scope.tenant_id, channel=channel.value, **values
        )
        await self._scope.connection.execute(
            row.on_conflict_do_update(index_elements=["tenant_id", "channel"], set_=values)
        )

    def _mine(self, channel: Channel) -> dict[str, Any]:
        return {"tenant": self._scope.tenant_id, "channel": channel.value}


_STATE: Final = select(s.paused_until, s.reason, s.next_slot_at).where(
    and_(s.tenant_id == bindparam("tenant"), s.channel == bindparam("channel"))
)
_BOOK: Final = text("""
    INSERT INTO senders (tenant_id, channel, next_slot_at) VALUES (:tenant, :channel, :now + :booked)
    ON CONFLICT (tenant_id, channel)
    DO UPDATE SET next_slot_at = greatest(coalesce(senders.next_slot_at, :now), :now) + :booked
    RETURNING next_slot_at
""").columns(s.next_slot_at)
