"""Receipts on their way in: facts are written in groups, and the answer comes after the commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from callboard.clock import Clock
from callboard.messages import ports
from callboard.messages.model import Receipt
from callboard.messages.ports import Applied
from callboard.messages.receipts import book_proofs
from callboard.work import OpenSystemWork
from callboard_adapters.webhooks.calls import WebhookCall
from callboard_adapters.webhooks.group import GroupCommit


class WebhookCalls(Protocol):
    """The shelf of raw calls."""

    async def add_all(self, calls: Sequence[WebhookCall]) -> None:
        """Keep them in this transaction."""
        ...


class System(ports.SystemWork, Protocol):
    """A transaction across tenants, with the shelf."""

    @property
    def webhook_calls(self) -> WebhookCalls: ...


class Counted(Protocol):
    """Where the outcome is measured."""

    def receipts(self, outcome: str, n: int) -> None: ...

    def flushed(self) -> None: ...


@attrs.frozen(kw_only=True)
class Delivery:
    """One callback: its receipts, each limited to the tenants whose signature it carried, and the call itself."""

    receipts: tuple[Receipt, ...]
    call: WebhookCall


class ReceiptDesk:
    """Takes callbacks of all providers; one per event loop."""

    def __init__(self, *, system: OpenSystemWork[System], clock: Clock, counted: Counted) -> None:
        self._system = system
        self._clock = clock
        self._counted = counted
        self._group: GroupCommit[Delivery] = GroupCommit(self._write)

    async def take(self, delivery: Delivery) -> None:
        """Return when the callback is durable and applied; a repeat changes nothing.

        Raises what kept it from being written: the provider is to try again.
        """
        await self._group.add(delivery)

    async def drain(self) -> None:
        """Return when nothing is waiting (for shutdown)."""
        await self._group.drain()

    async def _write(self, deliveries: Sequence[Delivery]) -> None:
        receipts = [receipt for delivery in deliveries for receipt in delivery.receipts]
        applied = Applied(changed=0, duplicate=0, parked=0)
        async with self._system() as s:
            now = self._clock.now()
            if receipts:
                applied = await s.receipts.apply(receipts, now=now)
                await book_proofs(s, applied, now=now)
            await s.webhook_calls.add_all([delivery.call for delivery in deliveries])
        self._counted.flushed()
        for outcome in ("changed", "duplicate", "parked"):
            self._counted.receipts(outcome, getattr(applied, outcome))
