"""What sending needs: the ledger, the chunk queue, senders, channels and parked receipts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Protocol

import attrs

from callboard.credits.model import Entry
from callboard.credits.ports import Credits
from callboard.delivery.ports import Hints
from callboard.events import Event, Outbox
from callboard.ids import CampaignId, ContactId, MessageId, RunId, TenantId
from callboard.messages.model import (
    Candidate,
    Change,
    Chunk,
    Content,
    Message,
    Reason,
    Receipt,
    Run,
    RunState,
    Tally,
)
from callboard.segments.model import Criteria
from callboard.tenants.model import Channel, FrequencyCap, Tenant
from callboard.tenants.ports import Settings


class Ledger(Protocol):
    """One tenant's messages. Every change is a compare-and-set; 0 rows changed means somebody else was first."""

    async def open_run(self, run: Run) -> None:
        """Insert the run (``recipients`` is filled by the freeze)."""
        ...

    async def freeze(self, run: RunId, audience: Criteria, *, today: date, now: datetime, chunk: int) -> int:
        """Insert one queued row per eligible contact, its chunks and its counts, set-based; returns the number of rows.

        Eligible: live, has a phone, opted in, not suppressed, and ``audience`` matches. Rows get ``seq`` 1..n without
        gaps, attempt 0, one credit each. Calling it twice for a run is an error of the caller.
        """
        ...

    async def freeze_failed(self, run: RunId, *, of: RunId, now: datetime, chunk: int) -> int:
        """The same for the recipients whose row in run ``of`` is ``failed`` and who are still eligible."""
        ...

    async def eligible(self, audience: Criteria, *, today: date) -> int:
        """How many rows :meth:`freeze` would make now."""
        ...

    async def eligible_many(self, audiences: Mapping[str, Criteria], *, today: date) -> Mapping[str, int]:
        """Several of :meth:`eligible` in one pass over the contacts, by the caller's keys."""
        ...

    async def eligible_failed(self, of: RunId) -> int:
        """How many rows :meth:`freeze_failed` would make now."""
        ...

    async def run(self, run: RunId) -> Run | None: ...

    async def runs(self, campaign: CampaignId) -> list[Run]:
        """By number."""
        ...

    async def move_run(self, run: RunId, *, to: RunState, expected: Collection[RunState], now: datetime) -> bool:
        """Compare-and-set of the run's state, locking the run's row until the transaction ends."""
        ...

    async def cancel_queued(self, run: RunId, *, now: datetime) -> int:
        """Every queued row becomes cancelled (reason campaign_cancelled) with its credit marked as returned.

        Returns how many; the caller books that many credits. Rows in ``sending`` or beyond stay as they are.
        """
        ...

    async def renew(self, chunk: Chunk, *, lease: timedelta) -> bool:
        """Extend the lease; False when the chunk was taken by somebody else or the run is not open any more."""
        ...

    async def candidates(self, chunk: Chunk, *, limit: int, now: datetime, cap: FrequencyCap | None) -> list[Candidate]:
        """Queued rows of the chunk that are due, by seq."""
        ...

    async def mark(self, chunk: Chunk, changes: Sequence[Change], *, now: datetime) -> frozenset[int]:
        """Apply the gate's decisions to queued rows: sending (attempt + 1), queued again later, skipped.

        ``Change.attempt`` is the attempt after the change. Returns the seqs that changed.
        """
        ...

    async def settle(self, chunk: Chunk, changes: Sequence[Change], *, now: datetime, remember: bool) -> frozenset[int]:
        """Apply provider answers, one batch.

        A row in ``sending`` or ``unknown`` with this attempt takes the new state; a row that a receipt already moved on
        keeps its state but learns the provider id. ``remember`` records the phones for the frequency cap. Returns the
        seqs whose state changed.
        """
        ...

    async def release(self, chunk: Chunk, *, now: datetime, not_before: datetime | None) -> bool:
        """Give the lease back. A chunk without queued or sending rows is closed.

        Otherwise it opens again at the earliest ``next_at`` of its queued rows, but no earlier than ``not_before``.
        Returns True when this closed the last chunk of its run: the run has drained.
        """
        ...

    async def tally(self, runs: Collection[RunId]) -> Tally:
        """Counts of these runs together, from the rollup."""
        ...

    async def message(self, message: MessageId) -> Message | None: ...

    async def messages(
        self,
        run: RunId,
        *,
        states: Collection[str] = (),
        contact: ContactId | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[Message]:
        """Rows by seq, keyset-paged."""
        ...


@attrs.frozen(kw_only=True)
class SenderState:
    """A sender that may be paused (revoked credentials, spam rate, …) with the reason people are shown."""

    paused_until: datetime | None = None
    reason: str | None = None


class Senders(Protocol):
    """The tenant's sending numbers: pace and pause, shared by all workers."""

    async def state(self, channel: Channel) -> SenderState: ...

    async def pause(self, channel: Channel, *, until: datetime, reason: str) -> None: ...

    async def resume(self, channel: Channel) -> None: ...

    async def reserve(self, channel: Channel, n: int, *, per_second: float, now: datetime) -> datetime:
        """Book the next ``n`` sending slots at this rate over all processes; returns when the first one starts.

        ``n`` = 0 books nothing and only looks.
        """
        ...


class Work(Protocol):
    """One tenant's transaction."""

    @property
    def tenant(self) -> Tenant: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def credits(self) -> Credits: ...
    @property
    def senders(self) -> Senders: ...
    @property
    def outbox(self) -> Outbox: ...


@attrs.frozen(kw_only=True)
class Refundable:
    """A row that became final without proof and whose credit comes back."""

    tenant_id: TenantId
    id: MessageId


class Queue(Protocol):
    """Chunks and rows across tenants (system scope)."""

    async def claim(self, *, worker: str, lease: timedelta, max_claims: int) -> Chunk | None:
        """Lease the most urgent open, due chunk of an open run: by priority, then age. The claim is counted first.

        ``claim`` counts restart from 0 whenever a wave of the chunk commits; a chunk claimed more than ``max_claims``
        times without progress is set aside as dead instead of being handed out. The database's clock decides.
        """
        ...

    async def expire(self, *, limit: int) -> int:
        """Free chunks whose lease is over: their ``sending`` rows become unknown (worker_lost). How many it freed."""
        ...

    async def give_up(self, *, older_than: datetime, now: datetime, limit: int) -> list[Refundable]:
        """Unknown rows marked before ``older_than`` become unconfirmed (no_proof), credit marked as returned."""
        ...

    async def drained(self, *, limit: int) -> list[tuple[TenantId, RunId]]:
        """Open runs without an open chunk: finished, but nobody said so."""
        ...

    async def waiting(self) -> int:
        """Chunks that could be claimed now."""
        ...

    async def dead(self, *, limit: int = 100) -> list[Chunk]: ...

    async def revive(self, run: RunId, number: int) -> bool:
        """Put a dead chunk back."""
        ...


@attrs.frozen(kw_only=True)
class Applied:
    """What a batch of receipts did. ``writeoffs`` are rows proved accepted after their credit had come back;
    ``opted_out`` are (tenant, phone) pairs whose provider says they stopped marketing.
    """

    changed: int
    duplicate: int
    parked: int
    writeoffs: tuple[Refundable, ...] = ()
    opted_out: tuple[tuple[TenantId, str], ...] = ()


class Receipts(Protocol):
    """Receipts across tenants (system scope): found, applied by the rule, or parked until their message is known."""

    async def apply(self, receipts: Sequence[Receipt], *, now: datetime) -> Applied:
        """One batch: store each new fact (unique by provider and key), lock its row, apply ``rules.advance``.

        A receipt whose message is unknown is parked, never refused.
        """
        ...

    async def match_parked(self, *, now: datetime, limit: int) -> Applied:
        """Apply parked receipts whose message is known now."""
        ...

    async def drop_parked(self, *, older_than: datetime) -> int:
        """Forget parked receipts nobody claimed."""
        ...


class Accounts(Protocol):
    """Every tenant's credits, for movements that must commit with a change made across tenants (system scope)."""

    async def book(self, tenant: TenantId, *entries: Entry) -> int:
        """As ``Credits.book`` of that tenant, in this transaction."""
        ...


class Outboxes(Protocol):
    """Every tenant's outbox, for facts that must commit with a change made across tenants (system scope)."""

    async def add(self, tenant: TenantId, *events: Event) -> None:
        """As ``Outbox.add`` of that tenant, in this transaction."""
        ...


class SystemWork(Protocol):
    """A transaction across tenants."""

    @property
    def queue(self) -> Queue: ...
    @property
    def receipts(self) -> Receipts: ...
    @property
    def accounts(self) -> Accounts: ...
    @property
    def outboxes(self) -> Outboxes: ...


# --- channels -----------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Outbound:
    """A rendered message for one recipient. ``to`` is E.164 with ``+``; ``reference`` comes back on receipts if the
    provider can echo it. ``parameters`` are the rendered template parameters in order.
    """

    reference: MessageId
    to: str
    text: str
    content: Content
    parameters: tuple[str, ...] = ()
    button_suffix: str | None = None


@attrs.frozen(kw_only=True)
class Accepted:
    """The provider took it. ``provider_message_id`` is its own name for the message."""

    provider_message_id: str


@attrs.frozen(kw_only=True)
class Refused:
    """A definite no for this recipient or this template, before acceptance: never retried, credit back."""

    reason: Reason
    provider_code: str
    opted_out: bool = False


@attrs.frozen(kw_only=True)
class NotSent:
    """It never left us or the provider said "not now": safe to try again. ``retry_after`` in seconds if it said so.

    ``throttled`` does not burn an attempt (429 and its like) during the first 24 h.
    """

    reason: Reason
    provider_code: str | None = None
    retry_after: float | None = None
    throttled: bool = False


@attrs.frozen(kw_only=True)
class SenderBlocked:
    """The provider refuses the sender itself (credentials, spam rate, payment): rows go back, the sender pauses."""

    provider_code: str
    reason: str
    pause: timedelta


@attrs.frozen(kw_only=True)
class Ambiguous:
    """The request may have arrived: nobody knows. Never re-sent automatically."""

    provider_code: str | None = None


Answer = Accepted | Refused | NotSent | SenderBlocked | Ambiguous


class ChannelClient(Protocol):
    """A provider that carries messages of one tenant on one channel."""

    @property
    def concurrency(self) -> int:
        """Requests it keeps in flight at most; also the size of a wave."""
        ...

    @property
    def per_second(self) -> float:
        """The sender's rate; 0 means no limit of ours."""
        ...

    async def send(self, batch: Sequence[Outbound]) -> Sequence[Answer]:
        """Hand over up to ``concurrency`` messages at once; one answer each, in order. Raises nothing."""
        ...


class Channels(Protocol):
    """The tenant's configured providers."""

    async def client(self, tenant: TenantId, channel: Channel) -> ChannelClient:
        """NotConfigured (naming the setting) when the tenant has no credentials for the channel."""
        ...


__all__ = [
    "Accepted",
    "Accounts",
    "Ambiguous",
    "Answer",
    "Applied",
    "ChannelClient",
    "Channels",
    "Hints",
    "Ledger",
    "NotSent",
    "Outbound",
    "Outboxes",
    "Queue",
    "Receipts",
    "Refundable",
    "Refused",
    "SenderBlocked",
    "SenderState",
    "Senders",
    "SystemWork",
    "Work",
]
