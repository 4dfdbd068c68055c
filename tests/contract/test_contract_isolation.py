"""Two tenants with the same data never see each other: every read and write with the other's ids finds nothing."""

from __future__ import annotations

from datetime import date, timedelta

import attrs
import pytest
from tests.contract.builders import (
    a_campaign,
    a_credential,
    a_link,
    a_segment,
    a_shop_event,
    a_template,
    an_automation,
)
from tests.contract.world import LONG, OVER, TODAY, World, change, phone, sending

from callboard.campaigns.model import CampaignStatus
from callboard.contacts.model import Consent, ConsentRecord, ConsentSource, Contact, ContactRow, Suppression
from callboard.ids import MessageId, TenantId
from callboard.messages.messages import RunOpened
from callboard.messages.model import Reason, Run, RunState, State
from callboard.segments.model import EVERYBODY, MemberOf
from callboard.tenants.model import Channel
from callboard.values import Phone


@pytest.fixture
async def mine(world: World) -> TenantId:
    """A tenant with one contact, whose number the other tenant knows as well."""
    tenant = await world.tenant(credits=10)
    await world.contact(tenant, 1, first_name="Mine")
    return tenant


@pytest.fixture
async def theirs(world: World) -> TenantId:
    """The other one."""
    tenant = await world.tenant(credits=20)
    await world.contact(tenant, 1, first_name="Theirs")
    return tenant


async def their_contact(world: World, tenant: TenantId) -> Contact:
    async with world.work(tenant) as w:
        found = await w.contacts.by_phone(phone(1))
    assert found is not None
    return found


async def test_settings_and_secrets(world: World, mine: TenantId, theirs: TenantId) -> None:
    async with world.work(theirs) as w:
        await w.settings.put({"a": "theirs"})
        await w.settings.put({"S": "theirs"}, secret=True)
    async with world.work(mine) as w:
        assert await w.settings.all() == {}
        assert await w.settings.secret("S") is None
        await w.settings.put({"a": "mine"})
        await w.settings.put({"S": None}, secret=True)
    async with world.work(theirs) as w:
        assert await w.settings.all() == {"a": "theirs"}
        assert await w.settings.secret("S") == "theirs"


async def test_credentials(world: World, mine: TenantId, theirs: TenantId) -> None:
    key = a_credential(world, theirs, b"k" * 32)
    async with world.work(theirs) as w:
        await w.credentials.add(key)
    async with world.work(mine) as w:
        assert await w.credentials.get(key.id) is None
        assert await w.credentials.list() == []
        await w.credentials.save(attrs.evolve(key, revoked_at=world.now()))
    async with world.work(theirs) as w:
        assert await w.credentials.list() == [key]


async def test_contacts_and_consent(world: World, mine: TenantId, theirs: TenantId) -> None:
    other = await their_contact(world, theirs)
    record = ConsentRecord(
        contact_id=other.id,
        phone=phone(1),
        consent=Consent.OPTED_IN,
        source=ConsentSource.API,
        evidence=None,
        at=world.now(),
    )
    async with world.work(theirs) as w:
        await w.contacts.record_consent(record)
        await w.contacts.suppress(Suppression(phone=phone(2), reason="x", at=world.now()))
        await w.contacts.add(world.a_contact(3))
    async with world.work(mine) as w:
        assert await w.contacts.get(other.id) is None
        found = await w.contacts.by_phone(phone(1))
        assert found is not None
        assert found.first_name == "Mine"
        assert await w.contacts.by_phone(phone(3)) is None
        assert await w.contacts.existing_phones([phone(1), phone(3)]) == {phone(1)}
        assert await w.contacts.consent_history(phone(1)) == []
        assert await w.contacts.suppressed([phone(2)]) == frozenset()
        assert not await w.contacts.unsuppress(phone(2))
        await w.contacts.save(attrs.evolve(other, first_name="Stolen"))
        await w.contacts.merge_rows([ContactRow(line=2, phone=Phone(phone(1)), last_name="X")])
    assert await their_contact(world, theirs) == other
    async with world.work(theirs) as w:
        assert await w.contacts.suppressed([phone(2)]) == {phone(2)}
        assert await w.contacts.consent_history(phone(1)) == [record]


async def test_segments_and_audiences(world: World, mine: TenantId, theirs: TenantId) -> None:
    other = await their_contact(world, theirs)
    segment, own = a_segment(world, "VIPs"), a_segment(world, "VIPs")
    async with world.work(theirs) as w:
        await w.segments.add(segment)
        await w.segments.add_members(segment.id, [other.id])
    async with world.work(mine) as w:
        await w.segments.add(own)
        assert await w.segments.get(segment.id) is None
        assert await w.segments.list() == [own]
        assert await w.segments.existing([other.id]) == frozenset()
        assert await w.segments.add_members(own.id, [other.id]) == 0
        me = await w.contacts.by_phone(phone(1))
        assert me is not None
        assert await w.segments.add_members(segment.id, [me.id, other.id]) == 0
        assert await w.segments.remove_members(segment.id, [other.id]) == 0
        await w.segments.save(attrs.evolve(segment, name="Stolen"))
        await w.segments.remove(segment.id)
        assert await w.audiences.count(EVERYBODY, today=TODAY) == 1
        assert await w.audiences.count_many({"x": MemberOf(segment_id=segment.id)}, today=TODAY) == {"x": 0}
        assert [c.first_name for c in await w.audiences.sample(EVERYBODY, today=TODAY, limit=9)] == ["Mine"]
        assert await w.ledger.eligible(EVERYBODY, today=TODAY) == 1
        assert await w.ledger.eligible(MemberOf(segment_id=segment.id), today=TODAY) == 0
    async with world.work(theirs) as w:
        assert await w.segments.list() == [segment]
        assert await w.audiences.count(MemberOf(segment_id=segment.id), today=TODAY) == 1


async def test_credits(world: World, mine: TenantId, theirs: TenantId) -> None:
    async with world.work(mine) as w:
        assert await w.credits.balance() == 10
        assert len(await w.credits.entries()) == 1
        assert await w.credits.book(world.entry("same key", -10)) == -10
    async with world.work(theirs) as w:
        assert await w.credits.balance() == 20
        assert await w.credits.book(world.entry("same key", -20)) == -20


async def test_campaigns_links_and_automations(world: World, mine: TenantId, theirs: TenantId) -> None:
    campaign = a_campaign(world, name="Sale")
    link = a_link(world, theirs, campaign.id)
    automation = an_automation(world)
    async with world.work(theirs) as w:
        await w.campaigns.add(campaign)
        await w.links.add(link)
        await w.automations.add(automation)
        await w.templates.add_missing([a_template(world, "One")])
        await w.shop_events.add(a_shop_event(world, "e1"))
    async with world.system() as s:
        await s.link_directory.add_clicks({(theirs, link.token, date(2026, 1, 1)): 3})
    async with world.work(mine) as w:
        assert await w.campaigns.get(campaign.id) is None
        assert await w.campaigns.get_for_update(campaign.id) is None
        assert await w.campaigns.by_name("Sale") is None
        stolen = attrs.evolve(campaign, status=CampaignStatus.CANCELLED)
        assert not await w.campaigns.save(stolen, expected=list(CampaignStatus))
        await w.campaigns.remove(campaign.id)
        assert await w.links.for_campaign(campaign.id) == []
        assert await w.links.clicks(campaign.id) == 0
        assert await w.automations.get(automation.id) is None
        assert await w.automations.list() == []
        await w.automations.save(attrs.evolve(automation, active=False))
        await w.automations.remove(automation.id)
        assert await w.templates.list() == []
        assert await w.shop_events.add(a_shop_event(world, "e1"))
    async with world.work(theirs) as w:
        assert await w.campaigns.get(campaign.id) == campaign
        assert await w.automations.list() == [automation]
        assert await w.links.clicks(campaign.id) == 3


async def test_the_ledger(world: World, mine: TenantId, theirs: TenantId) -> None:
    run = await world.run(theirs)
    chunk = await world.must_claim()
    now = world.now()
    first = MessageId(run.id, 1)
    async with world.work(mine) as w:
        ledger = w.ledger
        assert await ledger.run(run.id) is None
        assert run.campaign_id is not None
        assert await ledger.runs(run.campaign_id) == []
        assert await ledger.message(first) is None
        assert await ledger.messages(run.id) == []
        assert (await ledger.tally([run.id])).recipients == 0
        assert not await ledger.move_run(run.id, to=RunState.PAUSED, expected=list(RunState), now=now)
        assert await ledger.cancel_queued(run.id, now=now) == 0
        assert await ledger.eligible_failed(run.id) == 0
        assert not await ledger.renew(chunk, lease=OVER)
        assert await ledger.candidates(chunk, limit=9, now=now, cap=None) == []
        assert await ledger.mark(chunk, [sending(1)], now=now) == frozenset()
        refused = change(1, State.FAILED, Reason.REFUSED, refund=True)
        assert await ledger.settle(chunk, [refused], now=now, remember=True) == frozenset()
        assert not await ledger.release(chunk, now=now, not_before=None)
    assert await world.expire() == 0
    assert await world.states(theirs, run.id) == [State.QUEUED]
    assert await world.mark(chunk, sending(1)) == {1}
    async with world.work(mine) as w:
        assert await w.ledger.settle(chunk, [refused], now=now, remember=True) == frozenset()
    assert await world.settle(chunk, refused) == {1}
    await failed_rows_of_another_tenant(world, mine, run)


async def failed_rows_of_another_tenant(world: World, mine: TenantId, run: Run) -> None:
    again = world.a_run(mine, retry_of=run.id)
    async with world.work(mine) as w:
        await w.ledger.open_run(again)
        assert await w.ledger.freeze_failed(again.id, of=run.id, now=world.now(), chunk=9) == 0


async def test_what_a_phone_got_from_one_tenant_does_not_count_for_another(
    world: World, mine: TenantId, theirs: TenantId
) -> None:
    from callboard.tenants.model import FrequencyCap

    await world.run(theirs)
    chunk = await world.must_claim()
    await world.mark(chunk, sending(1))
    await world.settle(chunk, change(1, State.ACCEPTED, provider_message_id="p"), remember=True)
    await world.run(mine)
    chunk = await world.must_claim()
    cap = FrequencyCap(limit=1, window=timedelta(days=1))
    async with world.work(mine) as w:
        (candidate,) = await w.ledger.candidates(chunk, limit=9, now=world.now(), cap=cap)
    assert (candidate.phone, candidate.recent) == (phone(1), 0)


async def test_a_claim_of_another_tenants_timer_finishes_nothing_here(
    world: World, mine: TenantId, theirs: TenantId
) -> None:
    past = world.now() - timedelta(hours=1)
    for tenant in (mine, theirs):
        async with world.work(tenant) as w:
            await w.timers.set("k", "1", past)
    async with world.system() as s:
        claimed = {timer.tenant_id: timer for timer in await s.timers.claim_due(limit=9, lease=LONG)}
    async with world.work(mine) as w:
        assert not await w.inbox.finish_timer(claimed[theirs])
        assert await w.inbox.finish_timer(claimed[mine])


async def test_senders_timers_and_deliveries(world: World, mine: TenantId, theirs: TenantId) -> None:
    past = world.now() - timedelta(hours=1)
    async with world.work(theirs) as w:
        await w.senders.pause(Channel.SMS, until=world.now() + timedelta(hours=1), reason="x")
        await w.senders.reserve(Channel.SMS, 100, per_second=1, now=past)
        await w.timers.set("k", "1", past)
        await w.outbox.add(RunOpened(run_id=world.a_run(theirs).id, campaign_id=None))
    async with world.system() as s:
        (delivery,) = await s.deliveries.fan_out({"run.opened": ["x"]}, limit=9)
        assert await s.deliveries.claim(delivery, lease=LONG) is not None
        (timer,) = await s.timers.claim_due(limit=9, lease=LONG)
    async with world.work(mine) as w:
        assert (await w.senders.state(Channel.SMS)).paused_until is None
        assert await w.senders.reserve(Channel.SMS, 1, per_second=1, now=past) == past
        await w.senders.resume(Channel.SMS)
        await w.timers.clear("k", "1")
        assert not await w.inbox.finish_timer(timer)
        assert not await w.inbox.finish_timer(attrs.evolve(timer, tenant_id=mine))
        assert not await w.inbox.finish_delivery(delivery, attempt=1)
    async with world.work(theirs) as w:
        assert (await w.senders.state(Channel.SMS)).paused_until is not None
        assert await w.inbox.finish_timer(timer)
        assert await w.inbox.finish_delivery(delivery, attempt=1)
