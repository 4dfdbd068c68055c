"""Clocks that stand still or are moved by hand, and pauses that take no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def _aware(_: object, __: object, value: datetime) -> None:
    if value.utcoffset() != timedelta(0):
        raise ValueError("clocks tell UTC")


@attrs.frozen
class FixedClock:
    """Always the same moment."""

    at: datetime = attrs.field(default=START, validator=_aware)

    def now(self) -> datetime:
        """The moment it was made for."""
        return self.at


@attrs.define
class ManualClock:
    """A clock that moves when it is told to, and only forwards."""

    at: datetime = attrs.field(default=START, validator=_aware)

    def now(self) -> datetime:
        """The moment it was moved to."""
        return self.at

    def advance(self, by: timedelta) -> datetime:
        """Move on and tell the new time."""
        if by < timedelta(0):
            raise ValueError("time does not go back")
        self.at += by
        return self.at


@attrs.define
class NoPauses:
    """Waiting that takes no time. With a ``clock`` given, the time that would have passed does pass there."""

    clock: ManualClock | None = None
    slept: list[float] = attrs.field(factory=list)

    async def sleep(self, seconds: float) -> None:
        """Return at once and remember for how long it was asked to wait."""
        self.slept.append(seconds)
        if self.clock is not None and seconds > 0:
            self.clock.advance(timedelta(seconds=seconds))
