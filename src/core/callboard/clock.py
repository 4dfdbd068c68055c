"""Time is a port: rules take ``now`` as an argument, services ask a :class:`Clock`."""

from __future__ import annotations

from datetime import date, datetime
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


class Pauses(Protocol):
    """Waiting, as a port: services never sleep by themselves."""

    async def sleep(self, seconds: float) -> None:
        """Return after about ``seconds``; a simulation only advances its clock."""
        ...
