"""Units of work: all or nothing, one tenant, and serial where it matters."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from tests.contract.builders import a_campaign
from tests.contract.world import World, answers, phone, together

from callboard.campaigns.model import CampaignStatus
from callboard.contacts.model import Suppression
from callboard.errors import NotFound
from callboard.ids import TenantId
from callboard.messages.messages import RunOpened
from callboard.tenants.model import Channel


class Stop(Exception):
    """Something of ours that goes wrong."""


async def test_an_unknown_tenant_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        async with world.work(TenantId(world.ids.new())):
            pytest.fail("the unit of work began")


async def test_leaving_commits(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        assert w.tenant.id == tenant
        await w.settings.put({"shopName": "X"})
    async with world.work(tenant) as w:
        assert await w.settings.all() == {"shopName": "X"}


async def test_a_unit_of_work_reads_its_own_writes(world: World) -> None:
    tenant = await world.tenant()
    contact = world.a_contact()
    async with world.work(tenant) as w:
        await w.contacts.add(contact)
        assert await w.contacts.get(contact.id) == contact
        await w.credits.book(world.entry("g", 5))
        assert await w.credits.balance() == 5


async def test_raising_takes_everything_back(world: World) -> None:
    tenant = await world.tenant(credits=10)
    await world.people(tenant, 2)
    run = world.a_run(tenant)
    campaign = a_campaign(world)
    contact = world.a_contact(99)
    with pytest.raises(Stop):
        async with world.work(tenant) as w:
            await w.settings.put({"a": "b"})
            await w.contacts.add(contact)
            await w.contacts.suppress(Suppression(phone=phone(1), reason="x", at=world.now()))
            await w.credits.book(world.entry("debit", -2, run=run.id))
            await w.campaigns.add(campaign)
            await w.ledger.open_run(run)
            await w.senders.pause(Channel.SMS, until=world.now() + timedelta(hours=1), reason="x")
            await w.outbox.add(RunOpened(run_id=run.id, campaign_id=None))
            await w.timers.set("k", "1", world.now() - timedelta(hours=1))
            raise Stop
    async with world.work(tenant) as w:
        assert await w.settings.all() == {}
        assert await w.contacts.get(contact.id) is None
        assert await w.contacts.by_phone(phone(99)) is None
        assert await w.contacts.suppressed([phone(1)]) == frozenset()
        assert await w.credits.balance() == 10
        assert [e.key for e in await w.credits.entries()] == ["grant"]
        assert await w.campaigns.get(campaign.id) is None
        assert await w.ledger.run(run.id) is None
        assert (await w.senders.state(Channel.SMS)).paused_until is None
    async with world.system() as s:
        assert await s.deliveries.fan_out({"run.opened": ["x"]}, limit=10) == []
        assert await s.timers.claim_due(limit=10, lease=timedelta(seconds=1)) == []


async def test_a_system_unit_of_work_rolls_back_too(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=1)
    with pytest.raises(Stop):
        async with world.system() as s:
            assert await s.queue.claim(worker="w", lease=timedelta(minutes=1), max_claims=3) is not None
            await s.outboxes.add(tenant, RunOpened(run_id=world.a_run(tenant).id, campaign_id=None))
            raise Stop
    async with world.system() as s:
        assert await s.queue.waiting() == 1
        assert await s.deliveries.fan_out({"run.opened": ["x"]}, limit=10) == []


async def test_two_changes_of_one_campaign_wait_for_each_other(world: World) -> None:
    tenant = await world.tenant()
    campaign = a_campaign(world)
    async with world.work(tenant) as w:
        await w.campaigns.add(campaign)

    async def one_more_round() -> bool:
        async with world.work(tenant) as w:
            found = await w.campaigns.get_for_update(campaign.id)
            assert found is not None
            return await w.campaigns.save(attrs.evolve(found, rounds=found.rounds + 1), expected=[CampaignStatus.DRAFT])

    assert answers(await together(*(one_more_round() for _ in range(8)))) == [True] * 8
    async with world.work(tenant) as w:
        found = await w.campaigns.get(campaign.id)
    assert found is not None
    assert found.rounds == campaign.rounds + 8
