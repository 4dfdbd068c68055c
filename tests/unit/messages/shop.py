"""A shop on the memory store with everything that sends: what the tests of this folder and its neighbours play with."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import attrs

from callboard.campaigns.messages import CreateCampaign
from callboard.campaigns.model import Campaign, Everybody
from callboard.campaigns.rounds import Rounds
from callboard.campaigns.service import CampaignService
from callboard.contacts.model import Consent, Contact
from callboard.credits.service import CreditService
from callboard.delivery.deliver import Deliverer, Outcome
from callboard.delivery.relay import Relay
from callboard.delivery.ticker import Ticker
from callboard.ids import ContactId, MessageId, RunId, TenantId
from callboard.links.rules import unsubscribe_token
from callboard.messages.dispatch import Dispatcher
from callboard.messages.model import Fact, Message, Reason, Receipt, State, Tally
from callboard.messages.ports import ChannelClient
from callboard.messages.receipts import ReceiptService
from callboard.messages.sweep import Sweeper, Swept
from callboard.subscriptions import SUBSCRIPTIONS, handlers, timer_handlers
from callboard.tenants.model import Channel, Tenant
from callboard.values import Phone
from callboard_adapters.memory import (
    Checkpoint,
    CountingIds,
    ManualClock,
    MemoryChannel,
    MemoryHints,
    MemoryStore,
    NoPauses,
)

T = TypeVar("T")
KEY = b"a secret of the tests"
SHORT = "https://cb.example/r/"
UNSUBSCRIBE = "https://cb.example/unsubscribe"
MONDAY = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine by hand: the core awaits nothing but ports, so no event loop is needed."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


async def no_checkpoint(moment: str) -> None:
    """Nothing happens."""


@attrs.define
class OneProvider:
    """Channels with the same client for everybody."""

    provider: ChannelClient

    async def client(self, tenant: TenantId, channel: Channel) -> ChannelClient:
        return self.provider


class Shop:
    """One tenant, its people and every service, on a clock that is moved by hand."""

    def __init__(
        self,
        *,
        credits: int = 1000,  # noqa: A002 - as the command line calls it
        checkpoint: Checkpoint = no_checkpoint,
        provider: MemoryChannel | None = None,
        timezone: str = "UTC",
        chunk: int = 500,
        start: datetime = MONDAY,
    ) -> None:
        self.clock = ManualClock(start)
        self.ids = CountingIds()
        self.store = MemoryStore(clock=self.clock, ids=self.ids, checkpoint=checkpoint)
        self.work, self.system = self.store.work, self.store.system
        self.provider = provider or MemoryChannel()
        self.channels: Any = OneProvider(self.provider)
        self.hints = MemoryHints()
        self.pauses = NoPauses(self.clock)
        self.rounds = Rounds(
            clock=self.clock, ids=self.ids, short_links=SHORT, unsubscribe_links=UNSUBSCRIBE, chunk=chunk
        )
        self.campaigns = CampaignService(
            work=self.work, clock=self.clock, ids=self.ids, hints=self.hints, rounds=self.rounds
        )
        self.receipts = ReceiptService(system=self.system, clock=self.clock)
        self.sweeper = Sweeper(system=self.system, work=self.work, hints=self.hints, clock=self.clock)
        self.relay = Relay(system=self.system, hints=self.hints, subscribers=SUBSCRIPTIONS)
        self.deliverer = Deliverer(
            system=self.system,
            work=self.work,
            hints=self.hints,
            clock=self.clock,
            handlers=handlers(rounds=self.rounds, clock=self.clock),
        )
        self.failures: list[Exception] = []
        self.ticker = Ticker(
            system=self.system,
            work=self.work,
            hints=self.hints,
            handlers=timer_handlers(rounds=self.rounds),
            report=lambda _, error: self.failures.append(error),
        )
        self.tenant = TenantId(self.ids.new())
        self.granted = credits
        self.timezone = timezone

    async def open(self, people: int = 3) -> Shop:
        """Create the tenant, its credits and its first opted-in contacts."""
        tenant = Tenant(
            id=self.tenant,
            slug=f"shop-{self.tenant.hex[-6:]}",
            name="Shop",
            region="IN",
            timezone=self.timezone,
            created_at=self.clock.now(),
        )
        async with self.system() as s:
            await s.directory.create(tenant)
        if self.granted:
            await CreditService(work=self.work, clock=self.clock, ids=self.ids).grant(self.tenant, self.granted)
        for number in range(1, people + 1):
            await self.person(number)
        return self

    def dispatcher(self, worker: str = "w1") -> Dispatcher:
        return Dispatcher(
            work=self.work,
            system=self.system,
            channels=self.channels,
            clock=self.clock,
            pauses=self.pauses,
            unsubscribe_token=lambda contact: unsubscribe_token(contact, KEY),
            worker=worker,
        )

    async def person(self, number: int, *, consent: Consent = Consent.OPTED_IN, name: str | None = None) -> Contact:
        now = self.clock.now()
        contact = Contact(
            id=ContactId(self.ids.new()),
            phone=Phone(f"+9198{number:08d}"),
            first_name=name or f"P{number}",
            consent=consent,
            created_at=now,
            updated_at=now,
        )
        async with self.work(self.tenant) as w:
            await w.contacts.add(contact)
        return contact

    async def put(self, **settings: str) -> None:
        async with self.work(self.tenant) as w:
            await w.settings.put(settings)

    async def campaign(self, message: str = "Hi {{firstName}}", name: str = "C", **more: Any) -> Campaign:
        command = CreateCampaign(name=name, message=message, audience=more.pop("audience", Everybody()), **more)
        return await self.campaigns.create(self.tenant, command)

    async def dispatch(self) -> int:
        """Send until nothing can be claimed; returns how many chunks were."""
        chunks = 0
        dispatcher = self.dispatcher()
        while await dispatcher.run_once():
            chunks += 1
            assert chunks < 10_000, "a dispatcher that never ends"
        return chunks

    async def settle_events(self) -> list[Outcome]:
        """Relay and deliver until nothing waits."""
        outcomes: list[Outcome] = []
        while True:
            await self.relay.run_once()
            async with self.system() as s:
                due = await s.deliveries.due(limit=100)
            if not due:
                return outcomes
            outcomes += [await self.deliverer.deliver(delivery) for delivery in due]

    async def send_all(self) -> None:
        await self.dispatch()
        await self.settle_events()

    async def sweep(self) -> Swept:
        return await self.sweeper.run_once()

    async def wait(self, **delta: float) -> None:
        self.clock.advance(timedelta(**delta))

    # --- looking --------------------------------------------------------------------------------------------------

    async def reload(self, campaign: Campaign) -> Campaign:
        return await self.campaigns.get(self.tenant, campaign.id)

    async def rows(self, run: RunId) -> list[Message]:
        async with self.work(self.tenant) as w:
            return await w.ledger.messages(run, limit=100_000)

    async def states(self, run: RunId) -> list[State]:
        return [row.state for row in await self.rows(run)]

    async def row(self, run: RunId, seq: int = 1) -> Message:
        async with self.work(self.tenant) as w:
            found = await w.ledger.message(MessageId(run, seq))
        assert found is not None
        return found

    async def tally(self, run: RunId) -> Tally:
        async with self.work(self.tenant) as w:
            return await w.ledger.tally([run])

    async def balance(self) -> int:
        async with self.work(self.tenant) as w:
            return await w.credits.balance()

    async def conserved(self) -> None:
        """The invariants of credits, for every run of the shop."""
        async with self.work(self.tenant) as w:
            entries = await w.credits.entries(limit=100_000)
            balance = await w.credits.balance()
            runs = {entry.run_id for entry in entries if entry.run_id is not None}
            held = {run: sum(m.credits for m in await w.ledger.messages(run, limit=100_000)) for run in runs}
            tallies = {run: await w.ledger.tally([run]) for run in runs}
            recipients = {run: await w.ledger.run(run) for run in runs}
        assert balance == sum(entry.amount for entry in entries) >= 0
        assert len({entry.key for entry in entries}) == len(entries)
        for run in runs:
            assert sum(entry.amount for entry in entries if entry.run_id == run) == -held[run]
            frozen = recipients[run]
            assert frozen is not None
            assert tallies[run].recipients == frozen.recipients

    def receipts_for(self, fact: Fact, seqs: Sequence[int] | None = None) -> list[Receipt]:
        return [
            receipt
            for receipt in self.provider.receipts(fact, at=self.clock.now(), reason=_reason(fact))
            if seqs is None or (receipt.message_id is not None and receipt.message_id.seq in seqs)
        ]


def _reason(fact: Fact) -> Reason | None:
    return Reason.UNDELIVERED if fact is Fact.FAILED else None


def hex_id(number: int) -> UUID:
    """A UUID that is easy to read."""
    return UUID(int=number)
