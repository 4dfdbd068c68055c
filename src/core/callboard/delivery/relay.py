"""The relay: unpublished events become one delivery per subscriber, and somebody is woken; reliability.md 3.9."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from callboard.delivery.ports import Hints, SystemWork
from callboard.work import OpenSystemWork

BATCH = 200


@attrs.frozen(kw_only=True)
class Relay:
    """Any number may run. A hint that is lost costs latency only: the sweep finds the delivery."""

    system: OpenSystemWork[SystemWork]
    hints: Hints
    subscribers: Mapping[str, Sequence[str]]
    batch: int = BATCH

    async def run_once(self) -> int:
        """Fan out one batch and wake one worker per delivery, after the commit; returns the number of deliveries."""
        async with self.system() as s:
            made = await s.deliveries.fan_out(self.subscribers, limit=self.batch)
        for delivery in made:
            await self.hints.wake("deliver", str(delivery))
        return len(made)
