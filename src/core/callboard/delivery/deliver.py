"""One delivery: the subscriber's effect and the mark that it happened, in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Generic, TypeVar
from uuid import UUID

import attrs

from callboard.clock import Clock
from callboard.delivery.ports import Delivery, Hints, SystemWork, Work
from callboard.errors import CoreError
from callboard.events import StoredEvent
from callboard.work import OpenSystemWork, OpenWork

LEASE = timedelta(seconds=60)
MAX_ATTEMPTS = 5
FIRST_RETRY = timedelta(seconds=5)
RETRY_FACTOR = 6

W = TypeVar("W", bound=Work)
Handler = Callable[[W, StoredEvent], Awaitable[Sequence[str]]]
"""A subscriber: acts inside the given unit of work and returns the queues to wake once that has committed."""


class Outcome(StrEnum):
    """What became of one try."""

    DONE = "done"
    GONE = "gone"  # done before, held by somebody else, dead, or not due
    RETRY = "retry"
    BURIED = "buried"


class Superseded(Exception):
    """Somebody else finished it: undo everything of this try."""


@attrs.frozen(kw_only=True)
class Deliverer(Generic[W]):
    """Executes deliveries at least once, with exactly one effect."""

    system: OpenSystemWork[SystemWork]
    work: OpenWork[W]
    hints: Hints
    clock: Clock
    handlers: Mapping[str, Handler[W]]
    lease: timedelta = LEASE
    max_attempts: int = MAX_ATTEMPTS

    async def deliver(self, delivery: UUID) -> Outcome:
        """Claim (which counts the attempt first), run the subscriber, and mark it done in its transaction.

        The mark is made first: a second executor waits for it and then stops before it has any effect. A failure is
        tried again after 5 s, 30 s, 3 min, 18 min; after ``max_attempts`` the delivery is buried with its error. A
        subscriber that is not known here counts as a failure, never as done.
        """
        async with self.system() as s:
            claimed = await s.deliveries.claim(delivery, lease=self.lease)
        if claimed is None:
            return Outcome.GONE
        if claimed.attempt > self.max_attempts:  # workers died on it without a word
            return await self._failed(claimed, "died in every attempt")
        try:
            handler = self.handlers[claimed.subscriber]
            async with self.work(claimed.stored.tenant_id) as w:
                if not await w.inbox.finish_delivery(claimed.id, attempt=claimed.attempt):
                    raise Superseded  # noqa: TRY301 - leaving the block by raising is what rolls back
                wake = await handler(w, claimed.stored)
        except Superseded:
            return Outcome.GONE
        except Exception as error:  # noqa: BLE001 - kept with the delivery, shown on the dead-letter shelf
            return await self._failed(claimed, describe(error))
        for queue in wake:
            await self.hints.wake(queue)
        return Outcome.DONE

    async def _failed(self, claimed: Delivery, error: str) -> Outcome:
        async with self.system() as s:
            if claimed.attempt >= self.max_attempts:
                await s.deliveries.bury(claimed.id, attempt=claimed.attempt, error=error)
                return Outcome.BURIED
            at = self.clock.now() + FIRST_RETRY * int(RETRY_FACTOR ** (claimed.attempt - 1))
            await s.deliveries.retry(claimed.id, attempt=claimed.attempt, at=at, error=error)
            return Outcome.RETRY


def describe(error: Exception) -> str:
    """An error for people: our own say themselves; of foreign ones only the kind, since their text may quote data."""
    if isinstance(error, CoreError):
        return f"{error.code}: {error.message}"
    return f"{type(error).__module__}.{type(error).__qualname__}"
