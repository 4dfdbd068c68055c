"""The ticker: due timers meet their handlers, in one transaction with their removal; reliability.md 3.5."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

import attrs

from callboard.delivery.deliver import Superseded
from callboard.delivery.ports import DueTimer, Hints, SystemWork, Work
from callboard.work import OpenSystemWork, OpenWork

LEASE = timedelta(seconds=60)
MAX_CLAIMS = 5
BATCH = 50

W = TypeVar("W", bound=Work)


def _silent(what: str, error: Exception) -> None:
    """No report wanted."""


@attrs.frozen(kw_only=True)
class TimerHandler(Generic[W]):
    """``fire`` acts inside the unit of work that removes the timer, and may set it anew; it returns queues to wake.

    ``give_up`` is called in its place when ``fire`` failed ``MAX_CLAIMS`` times: it records the failure where people
    see it, so that a timer can neither loop for ever nor vanish.
    """

    fire: Callable[[W, DueTimer], Awaitable[Sequence[str]]]
    give_up: Callable[[W, DueTimer], Awaitable[None]]


@attrs.frozen(kw_only=True)
class Ticker(Generic[W]):
    """Any number may tick; the removal of the timer decides who fires it. ``report`` hears of every failure."""

    system: OpenSystemWork[SystemWork]
    work: OpenWork[W]
    hints: Hints
    handlers: Mapping[str, TimerHandler[W]]
    report: Callable[[str, Exception], None] = _silent
    lease: timedelta = LEASE
    batch: int = BATCH

    async def run_once(self) -> int:
        """Fire what is due and return how many fired; a failure leaves its timer to be claimed again after the lease.

        A kind that no handler knows is left alone: a newer version may have set it.
        """
        async with self.system() as s:
            due = await s.timers.claim_due(limit=self.batch, lease=self.lease)
        fired = 0
        for timer in due:
            handler = self.handlers.get(timer.kind)
            if handler is None:
                continue
            try:
                fired += await self._fire(handler, timer)
            except Superseded:
                continue
            except Exception as error:  # noqa: BLE001 - the other timers must not wait for this one
                self.report("timer.failed", error)
        return fired

    async def _fire(self, handler: TimerHandler[W], timer: DueTimer) -> bool:
        wake: Sequence[str] = ()
        async with self.work(timer.tenant_id) as w:
            # First, so that a second ticker waits here and stops, and so that the handler may set the timer anew.
            if not await w.inbox.finish_timer(timer):
                raise Superseded
            if timer.claim > MAX_CLAIMS:
                await handler.give_up(w, timer)
            else:
                wake = await handler.fire(w, timer)
        for queue in wake:
            await self.hints.wake(queue)
        return True
