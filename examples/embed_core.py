"""Callboard's core inside your own program: no server, no database, no provider account.

Needs ``pip install callboard`` and nothing else. A shop defines an audience, asks the gate for decisions with their
reasons, and runs a campaign until nothing is left to send. Replace the memory adapters by your own, port by port.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from callboard.campaigns.messages import CreateCampaign
from callboard.campaigns.model import CampaignStatus, InSegment
from callboard.campaigns.rounds import Rounds
from callboard.campaigns.service import CampaignService
from callboard.clock import local_date
from callboard.contacts.model import Consent, ConsentSource, Contact, Gender
from callboard.contacts.service import ContactChanges, ContactService
from callboard.credits.service import CreditService
from callboard.delivery.deliver import Deliverer
from callboard.delivery.relay import Relay
from callboard.links.rules import unsubscribe_token
from callboard.messages.dispatch import Dispatcher
from callboard.messages.explain import explain
from callboard.messages.gate import Hold, Send, Skip, decide
from callboard.messages.model import Candidate, Fact, Purpose, Reason, RunState
from callboard.messages.ports import Answer, NotSent, Outbound, Refused
from callboard.messages.receipts import ReceiptService
from callboard.segments.model import AgeBetween, AllOf, AnyOf, GenderIs, HasTag
from callboard.segments.rules import age_on, matches
from callboard.segments.service import SegmentService
from callboard.subscriptions import SUBSCRIPTIONS, handlers
from callboard.tenants.model import Channel, MessagingPolicy, QuietHours
from callboard.tenants.service import TenantService
from callboard.values import parse_phone
from callboard_adapters.memory import (
    CountingIds,
    ManualClock,
    MemoryChannel,
    MemoryChannels,
    MemoryHints,
    MemoryStore,
    NoPauses,
)

PUBLIC = "https://shop.example"
KEY = b"sign unsubscribe links with a secret of your own"

# Two answers of the provider that are not "accepted": one for ever, one for now.
NOT_ON_CHANNEL = "+919800000004"
BUSY_ONCE = "+919800000005"

PEOPLE: tuple[
    tuple[str, Gender | None, date | None, set[str], str, Consent], ...
] = (  # name, gender, born, tags, phone, consent
    ("Asha", Gender.FEMALE, date(1996, 3, 2), {"vip"}, "98000 00001", Consent.OPTED_IN),
    ("Bela", Gender.FEMALE, date(1990, 11, 30), {"vip", "new"}, "+91 98000-00002", Consent.OPTED_IN),
    ("Carl", Gender.MALE, date(1985, 1, 1), {"vip"}, "098000 00003", Consent.OPTED_IN),
    ("Devi", Gender.FEMALE, date(2001, 6, 15), set(), "919800000004", Consent.OPTED_IN),
    ("Elif", Gender.FEMALE, date(1999, 9, 9), set(), "9800000005", Consent.OPTED_IN),
    ("Fay", Gender.FEMALE, date(1992, 2, 29), {"vip"}, "9800000006", Consent.OPTED_OUT),
    ("Gita", Gender.FEMALE, date(1970, 1, 1), {"vip"}, "9800000007", Consent.OPTED_IN),
    ("Hema", None, None, {"new"}, "9800000008", Consent.OPTED_IN),
)
AUDIENCE = AllOf(
    parts=(GenderIs(gender=Gender.FEMALE), AnyOf(parts=(HasTag(tags=frozenset({"vip"})), AgeBetween(lte=30))))
)


def provider_script() -> MemoryChannel:
    """A provider that refuses one number and is busy once; everything else it takes."""
    busy = {BUSY_ONCE}

    def answer(message: Outbound) -> Answer | None:
        if message.to == NOT_ON_CHANNEL:
            return Refused(reason=Reason.NOT_ON_CHANNEL, provider_code="404")
        if message.to in busy:
            busy.remove(message.to)
            return NotSent(reason=Reason.PROVIDER_BUSY, provider_code="429", retry_after=60, throttled=True)
        return None

    return MemoryChannel(name="demo", script=answer)


def decisions_without_any_store() -> None:
    """The gate is a pure function: facts and time in, one decision with one reason out."""
    print("\nThe gate, asked directly:")
    policy = MessagingPolicy(quiet_hours=QuietHours(start=time(21), end=time(9)), timezone="Asia/Kolkata")
    evening, noon = (datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in (17, 6))
    for consent, now in ((Consent.OPTED_IN, noon), (Consent.OPTED_IN, evening), (Consent.OPTED_OUT, noon)):
        candidate = Candidate(
            seq=1,
            contact_id=None,
            phone="+919800000001",
            first_name="Asha",
            last_name=None,
            attempt=0,
            queued_at=now,
            consent=consent,
            suppressed=False,
        )
        decision = decide(
            candidate, run_state=RunState.OPEN, purpose=Purpose.MARKETING, policy=policy, missing=(), now=now
        )
        match decision:
            case Send(reason=reason):
                told = f"send ({reason.value})"
            case Hold(until=until, reason=reason):
                told = f"hold until {until:%H:%M} UTC ({reason.value})"
            case Skip(reason=reason):
                told = f"skip ({reason.value})"
        print(f"  {consent.value} at {now:%H:%M} UTC: {told}")


class Shop:
    """One tenant and the services that this program needs, over the memory adapters."""

    def __init__(self) -> None:
        self.clock = ManualClock(datetime(2026, 3, 1, 6, 0, tzinfo=UTC))
        self.ids = CountingIds()
        self.store = MemoryStore(clock=self.clock, ids=self.ids)
        self.hints = MemoryHints()
        self.provider = provider_script()
        work, system, clock, ids = self.store.work, self.store.system, self.clock, self.ids
        rounds = Rounds(clock=clock, ids=ids, short_links=f"{PUBLIC}/r/", unsubscribe_links=f"{PUBLIC}/unsubscribe")
        self.tenants = TenantService(system=system, clock=clock, ids=ids)
        self.contacts = ContactService(work=work, clock=clock, ids=ids)
        self.credits = CreditService(work=work, clock=clock, ids=ids)
        self.segments = SegmentService(work=work, clock=clock, ids=ids)
        self.campaigns = CampaignService(work=work, clock=clock, ids=ids, hints=self.hints, rounds=rounds)
        self.receipts = ReceiptService(system=system, clock=clock)
        self.relay = Relay(system=system, hints=self.hints, subscribers=SUBSCRIPTIONS)
        self.deliverer = Deliverer(
            system=system, work=work, hints=self.hints, clock=clock, handlers=handlers(rounds=rounds, clock=clock)
        )
        self.dispatcher = Dispatcher(
            work=work,
            system=system,
            channels=MemoryChannels(shared={Channel.SMS: self.provider}),
            clock=clock,
            pauses=NoPauses(clock),
            unsubscribe_token=lambda contact: unsubscribe_token(contact, KEY),
            worker="example",
        )

    async def work_off(self) -> None:
        """What a worker does in a loop: send what is due, then let events reach their subscribers."""
        while await self.dispatcher.run_once():
            pass
        await self.relay.run_once()
        for (delivery,) in self.hints.take("deliver"):
            await self.deliverer.deliver(UUID(delivery))


async def main() -> None:
    decisions_without_any_store()
    shop = Shop()
    tenant = await shop.tenants.create(slug="tea-house", name="Tea House", region="IN", timezone="Asia/Kolkata")
    await shop.credits.grant(tenant.id, 10, reason="welcome")

    print("\nThe audience: women who are VIPs or at most 30")
    today = local_date(shop.clock.now(), tenant.timezone)
    people: dict[str, Contact] = {}
    for name, gender, born, tags, phone, consent in PEOPLE:
        person = await shop.contacts.create(
            tenant.id,
            ContactChanges(
                phone=parse_phone(phone, tenant.region),
                first_name=name,
                gender=gender,
                birth_date=born,
                tags=frozenset(tags),
                consent=consent,
            ),
        )
        people[name] = person
        meant = matches(AUDIENCE, person, today=today, members={})
        age = "age unknown" if born is None else f"{age_on(born, today)}"
        print(f"  {name:<5} {age:<12}{'meant' if meant else 'not meant':<10} {consent.value}")

    segment = await shop.segments.create(tenant.id, "VIPs and young women", criteria=AUDIENCE)
    campaign = await shop.campaigns.create(
        tenant.id,
        CreateCampaign(
            name="First flush",
            message="Hi {{firstName|there}}, the first flush is in!\nhttps://shop.example/teas/first-flush",
            audience=InSegment(segment_id=segment.id),
        ),
    )
    preview = await shop.campaigns.preview(tenant.id, campaign.id)
    print(f"\nPreview: {preview.recipients} recipients, {preview.credits} of {preview.balance} credits")
    enqueued = await shop.campaigns.enqueue(tenant.id, campaign.id)
    print(f"Enqueued: {enqueued.recipients} recipients, {enqueued.credits_debited} credits debited")

    bela = people["Bela"].phone
    assert bela is not None
    await shop.contacts.opt_out(tenant.id, bela.e164, source=ConsentSource.INBOUND, evidence="STOP")
    print("Bela answers STOP before her message has left")

    await shop.work_off()
    waiting = await shop.campaigns.get(tenant.id, campaign.id)
    print(
        f"After the first round of work the campaign is {waiting.status.value}: the provider was busy for one of them"
    )
    shop.clock.advance(timedelta(minutes=5))
    await shop.work_off()
    done = await shop.campaigns.get(tenant.id, campaign.id)
    assert done.status is CampaignStatus.SENT, done.status
    print(f"Five minutes later it is {done.status.value}")

    shop.clock.advance(timedelta(seconds=20))
    applied = await shop.receipts.apply(shop.provider.receipts(Fact.DELIVERED, at=shop.clock.now()))
    print(f"The provider reports {applied.changed} deliveries")

    print("\nEvery message, and why:")
    names = {contact.id: name for name, contact in people.items()}
    async with shop.store.work(tenant.id) as w:
        messages = await w.ledger.messages(enqueued.run_id)
        tally = await w.ledger.tally([enqueued.run_id])
        entries = await w.credits.entries()
        balance = await w.credits.balance()
    for message in messages:
        print(f"  {names[message.contact_id] if message.contact_id else '?'}:")
        for line in explain(message, timezone=tenant.timezone):
            print(f"    {line}")

    first = shop.provider.accepted[0][1]
    print("\nWhat the first of them read:")
    for line in first.text.splitlines():
        print(f"  | {line}")

    print("\nThe account, newest first:")
    for entry in entries:
        print(f"  {entry.amount:>+4}  {entry.kind.value:<7} {entry.reason or ''}")
    print(f"  {balance:>4}  balance = sum of the entries")
    counts = ", ".join(f"{state.value} {n}" for state, n in tally.by_state.items())
    print(f"\n{tally.recipients} recipients: {counts}")
    assert preview.recipients == enqueued.recipients == enqueued.credits_debited == tally.recipients == len(messages)
    assert balance == sum(entry.amount for entry in entries)


if __name__ == "__main__":
    asyncio.run(main())
