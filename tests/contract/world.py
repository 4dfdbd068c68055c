"""What a contract test sees of a store: two units of work, a clock, and helpers that speak through the ports only.

An embedder who writes his own store yields a :class:`World` from a fixture named ``world`` and runs these files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol, TypeVar

import attrs

from callboard.automations.ports import Automations, ShopEvents, Templates
from callboard.campaigns.ports import Campaigns
from callboard.contacts.model import Consent, Contact
from callboard.contacts.ports import Contacts
from callboard.credits.model import Entry, EntryKind
from callboard.credits.ports import Credits
from callboard.delivery.ports import Deliveries, Inbox, TimerQueue
from callboard.events import Outbox, Timers
from callboard.ids import CampaignId, ContactId, Ids, MessageId, RunId, TenantId
from callboard.links.ports import LinkDirectory, Links
from callboard.messages.model import (
    Candidate,
    Change,
    Chunk,
    Content,
    Message,
    Priority,
    Purpose,
    Reason,
    Run,
    RunState,
    State,
)
from callboard.messages.ports import Accounts, Ledger, Outboxes, Queue, Receipts, Senders
from callboard.segments.model import EVERYBODY, Criteria
from callboard.segments.ports import Audiences, Segments
from callboard.tenants.model import Channel, Tenant
from callboard.tenants.ports import Credentials, Directory, Settings
from callboard.values import Phone
from callboard.work import OpenSystemWork, OpenWork
from callboard_adapters.memory import ManualClock

T = TypeVar("T")
LONG = timedelta(minutes=10)
"""A lease that no test outlives."""
OVER = timedelta(seconds=-1)
"""A lease that is over at once: nobody has to wait for it."""
TODAY = date(2026, 3, 1)


class Work(Protocol):
    """One tenant's transaction with every repository."""

    @property
    def tenant(self) -> Tenant: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def credentials(self) -> Credentials: ...
    @property
    def contacts(self) -> Contacts: ...
    @property
    def segments(self) -> Segments: ...
    @property
    def audiences(self) -> Audiences: ...
    @property
    def credits(self) -> Credits: ...
    @property
    def links(self) -> Links: ...
    @property
    def campaigns(self) -> Campaigns: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def senders(self) -> Senders: ...
    @property
    def automations(self) -> Automations: ...
    @property
    def templates(self) -> Templates: ...
    @property
    def shop_events(self) -> ShopEvents: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def timers(self) -> Timers: ...
    @property
    def inbox(self) -> Inbox: ...


class SystemWork(Protocol):
    """A transaction across tenants."""

    @property
    def directory(self) -> Directory: ...
    @property
    def link_directory(self) -> LinkDirectory: ...
    @property
    def queue(self) -> Queue: ...
    @property
    def receipts(self) -> Receipts: ...
    @property
    def accounts(self) -> Accounts: ...
    @property
    def outboxes(self) -> Outboxes: ...
    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def timers(self) -> TimerQueue: ...


def phone(n: int) -> str:
    """The n-th number."""
    return f"+9198{n:08d}"


@attrs.define(kw_only=True)
class World:
    """A store under test. ``clock`` is set when its time is moved by hand."""

    work: OpenWork[Work]
    system: OpenSystemWork[SystemWork]
    ids: Ids
    clock: ManualClock | None = None
    made: int = 0

    # --- time -----------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The store's own time."""
        return datetime.now(UTC) if self.clock is None else self.clock.now()

    async def wait(self, seconds: float) -> None:
        """Until the store's clock has moved on by ``seconds``."""
        if self.clock is None:
            await asyncio.sleep(seconds)
        else:
            self.clock.advance(timedelta(seconds=seconds))

    # --- things ---------------------------------------------------------------------------------------------------

    async def tenant(
        self,
        *,
        credits: int = 0,  # noqa: A002 - the word of the trade
        slug: str | None = None,
    ) -> TenantId:
        """A new shop, with credits if you like."""
        self.made += 1
        tenant = Tenant(
            id=TenantId(self.ids.new()),
            slug=slug or f"shop-{self.made}",
            name="A Shop",
            region="IN",
            timezone="Asia/Kolkata",
            created_at=self.now(),
        )
        async with self.system() as s:
            await s.directory.create(tenant)
        if credits:
            async with self.work(tenant.id) as w:
                await w.credits.book(self.entry("grant", credits))
        return tenant.id

    def entry(self, key: str, amount: int, *, run: RunId | None = None) -> Entry:
        """A movement of credits."""
        kind = EntryKind.GRANT if amount > 0 else EntryKind.DEBIT
        return Entry(key=key, kind=kind, amount=amount, run_id=run, reason=None, at=self.now())

    def a_contact(self, number: int | None = 1, **fields: Any) -> Contact:
        """A contact that may be written to, unless ``fields`` says otherwise; not stored."""
        now = self.now()
        given: dict[str, Any] = {
            "id": ContactId(self.ids.new()),
            "phone": None if number is None else Phone(phone(number)),
            "consent": Consent.OPTED_IN,
            "created_at": now,
            "updated_at": now,
        }
        return Contact(**(given | fields))

    async def contact(self, tenant: TenantId, number: int | None = 1, **fields: Any) -> Contact:
        """The same, stored."""
        contact = self.a_contact(number, **fields)
        async with self.work(tenant) as w:
            await w.contacts.add(contact)
        return contact

    async def people(self, tenant: TenantId, n: int) -> list[Contact]:
        """``n`` contacts that may be written to."""
        found = [self.a_contact(number, first_name=f"P{number}") for number in range(1, n + 1)]
        async with self.work(tenant) as w:
            for contact in found:
                await w.contacts.add(contact)
        return found

    def a_run(self, tenant: TenantId, **fields: Any) -> Run:
        """A run that is not stored."""
        given: dict[str, Any] = {
            "id": RunId(self.ids.new()),
            "tenant_id": tenant,
            "campaign_id": CampaignId(self.ids.new()),
            "number": 1,
            "state": RunState.OPEN,
            "purpose": Purpose.MARKETING,
            "priority": Priority.NORMAL,
            "content": Content(
                channel=Channel.SMS,
                text="Hi {{firstName}}\nbye",
                values={"shopName": "A Shop"},
                unsubscribe_base="https://c.example/unsubscribe/",
            ),
            "recipients": 0,
            "created_at": self.now(),
        }
        return Run(**(given | fields))

    async def run(
        self,
        tenant: TenantId,
        *,
        people: int = 0,
        chunk: int = 500,
        audience: Criteria = EVERYBODY,
        today: date = TODAY,
        **fields: Any,
    ) -> Run:
        """A frozen run, to ``people`` new contacts or to those that are there."""
        if people:
            await self.people(tenant, people)
        run = self.a_run(tenant, **fields)
        async with self.work(tenant) as w:
            await w.ledger.open_run(run)
            await w.ledger.freeze(run.id, audience, today=today, now=run.created_at, chunk=chunk)
            stored = await w.ledger.run(run.id)
        assert stored is not None
        return stored

    # --- sending --------------------------------------------------------------------------------------------------

    async def claim(self, *, lease: timedelta = LONG, worker: str = "w", max_claims: int = 9) -> Chunk | None:
        """Claim the next chunk in its own transaction."""
        async with self.system() as s:
            return await s.queue.claim(worker=worker, lease=lease, max_claims=max_claims)

    async def must_claim(self, *, lease: timedelta = LONG) -> Chunk:
        """The same where there must be one."""
        chunk = await self.claim(lease=lease)
        assert chunk is not None
        return chunk

    async def candidates(self, chunk: Chunk, *, limit: int = 1000) -> list[Candidate]:
        """What the gate would be asked about."""
        async with self.work(chunk.tenant_id) as w:
            return await w.ledger.candidates(chunk, limit=limit, now=self.now(), cap=None)

    async def mark(self, chunk: Chunk, *changes: Change) -> frozenset[int]:
        """Apply decisions in their own transaction."""
        async with self.work(chunk.tenant_id) as w:
            return await w.ledger.mark(chunk, changes, now=self.now())

    async def settle(self, chunk: Chunk, *changes: Change, remember: bool = False) -> frozenset[int]:
        """Apply answers in their own transaction."""
        async with self.work(chunk.tenant_id) as w:
            return await w.ledger.settle(chunk, changes, now=self.now(), remember=remember)

    async def release(self, chunk: Chunk, *, not_before: datetime | None = None) -> bool:
        """Give a chunk back in its own transaction."""
        async with self.work(chunk.tenant_id) as w:
            return await w.ledger.release(chunk, now=self.now(), not_before=not_before)

    async def expire(self) -> int:
        """Free every chunk whose lease is over."""
        async with self.system() as s:
            return await s.queue.expire(limit=100)

    async def sending(self, tenant: TenantId, *, people: int = 1, lease: timedelta = LONG) -> Chunk:
        """A claimed chunk of a new run, all of whose rows are marked ``sending``."""
        await self.run(tenant, people=people)
        chunk = await self.must_claim(lease=lease)
        marked = await self.mark(chunk, *(sending(seq) for seq in range(1, people + 1)))
        assert len(marked) == people
        return chunk

    async def rows(self, tenant: TenantId, run: RunId) -> list[Message]:
        """The whole ledger of a run."""
        async with self.work(tenant) as w:
            return await w.ledger.messages(run, limit=10_000)

    async def row(self, chunk: Chunk, seq: int = 1) -> Message:
        """One row."""
        async with self.work(chunk.tenant_id) as w:
            found = await w.ledger.message(MessageId(chunk.run_id, seq))
        assert found is not None
        return found

    async def states(self, tenant: TenantId, run: RunId) -> list[State]:
        """The states of a run's rows, by seq."""
        return [row.state for row in await self.rows(tenant, run)]


def change(seq: int, state: State, reason: Reason = Reason.CLEARED, *, attempt: int = 1, **fields: Any) -> Change:
    """A change of one row."""
    return Change(seq=seq, attempt=attempt, state=state, reason=reason, **fields)


def sending(seq: int, *, attempt: int = 1) -> Change:
    """The gate let it pass."""
    return change(seq, State.SENDING, attempt=attempt)


def accepted(seq: int, provider_id: str | None = None, *, attempt: int = 1) -> Change:
    """The provider took it."""
    return change(seq, State.ACCEPTED, attempt=attempt, provider_message_id=provider_id or f"p-{seq}")


async def together(*calls: Awaitable[T]) -> Sequence[T | BaseException]:
    """All at once; what was raised stands in the place of its answer."""
    return await asyncio.gather(*calls, return_exceptions=True)


def answers(results: Iterable[T | BaseException]) -> list[T]:
    """The same where nothing may raise."""
    found: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found
