"""Who hears of what: the one table of subscribers and the one table of timers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from callboard.campaigns import ports as campaigns
from callboard.campaigns.rounds import START_TIMER, Rounds
from callboard.clock import Clock
from callboard.contacts import ports as contacts
from callboard.contacts.model import ConsentSource
from callboard.contacts.service import opt_out
from callboard.delivery.deliver import Handler
from callboard.delivery.ticker import TimerHandler
from callboard.events import StoredEvent
from callboard.messages.messages import OptOutReported, RunDrained

SUBSCRIPTIONS: Mapping[str, tuple[str, ...]] = {
    RunDrained.type: ("campaigns.run_drained",),
    OptOutReported.type: ("contacts.provider_opt_out",),
}
"""Event type → subscriber names. The relay makes one delivery for each; other events are only kept."""


class Work(campaigns.Work, contacts.Work, Protocol):
    """One tenant's transaction, as all subscribers together see it."""


@attrs.frozen(kw_only=True)
class ProviderOptOuts:
    """A provider says that a person stopped marketing: for this tenant the number is suppressed."""

    clock: Clock

    async def on_reported(self, w: contacts.Work, stored: StoredEvent) -> Sequence[str]:
        """Idempotent; evidence is the event's id."""
        event = stored.event
        assert isinstance(event, OptOutReported)
        now = self.clock.now()
        await opt_out(w, event.phone, source=ConsentSource.PROVIDER, evidence=str(stored.id), now=now)
        return ()


def handlers(*, rounds: Rounds, clock: Clock) -> Mapping[str, Handler[Work]]:
    """Subscriber name → what it does; exactly the names of :data:`SUBSCRIPTIONS`."""
    return {
        "campaigns.run_drained": rounds.on_run_drained,
        "contacts.provider_opt_out": ProviderOptOuts(clock=clock).on_reported,
    }


def timer_handlers(*, rounds: Rounds) -> Mapping[str, TimerHandler[Work]]:
    """Timer kind → what happens when it is due."""
    return {START_TIMER: TimerHandler(fire=rounds.fire, give_up=rounds.give_up)}
