"""Time is a port: rules take ``now`` as an argument, services ask a :class:`Clock`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo


class Clock(Protocol):
    """The present moment."""

    def now(self) -> datetime:
        """Aware, in UTC."""
        ...


def local_date(now: datetime, timezone: str) -> date:
    """The calendar day of ``now`` in an IANA zone: what "today" means to a tenant."""
    return now.astimezone(ZoneInfo(timezone)).date()


def at_local_time(wall: datetime, timezone: str) -> datetime:
    """The UTC moment of a naive local time; reliability.md 3.5.

    A time that does not exist (clocks went forward) becomes the first moment after the gap; one that happens twice
    (clocks went back) is the first of the two.
    """
    zone = ZoneInfo(timezone)
    late = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if late.astimezone(zone).replace(tzinfo=None) == wall:
        return late
    # In a gap: ``late`` and ``early`` use the offsets before and after it; the change lies between them.
    early = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = late.astimezone(zone).utcoffset()
    low, high = 0, int((late - early).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        if (early + timedelta(seconds=middle)).astimezone(zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return early + timedelta(seconds=high)


class Pauses(Protocol):
    """Waiting, as a port: services never sleep by themselves."""

    async def sleep(self, seconds: float) -> None:
        """Return after about ``seconds``; a simulation only advances its clock."""
        ...
