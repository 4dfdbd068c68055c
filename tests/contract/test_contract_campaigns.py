"""Campaigns, links and automations."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import attrs
import pytest
from tests.contract.builders import a_campaign, a_link, a_shop_event, a_template, an_automation
from tests.contract.world import World, answers, phone, together

from callboard.automations.model import Trigger
from callboard.campaigns.model import (
    CampaignStatus,
    Everybody,
    InSegment,
    OfGender,
    Schedule,
    ScheduleType,
)
from callboard.contacts.model import Gender
from callboard.errors import AlreadyExists
from callboard.ids import AutomationId, CampaignId, ContactId, RunId, SegmentId
from callboard.messages.model import Priority, WhatsAppTemplate

AT = datetime(2026, 4, 1, 8, 30, 15, 123456, tzinfo=UTC)


async def test_a_campaign_is_stored_whole(world: World) -> None:
    tenant = await world.tenant()
    plain = a_campaign(world)
    full = a_campaign(
        world,
        audience=InSegment(segment_id=SegmentId(world.ids.new())),
        include_discount=True,
        discount_value="SAVE20",
        schedule=Schedule(type=ScheduleType.RECURRING, at=AT, every_days=7),
        priority=Priority.URGENT,
        template=WhatsAppTemplate(
            name="sale", language="en_US", body=("{{firstName}}", "x"), button_suffix="s", header_image="https://x/y"
        ),
        status=CampaignStatus.SCHEDULED,
        status_reason="missed",
        current_run=RunId(world.ids.new()),
        rounds=3,
        next_run_at=AT,
    )
    gendered = a_campaign(world, audience=OfGender(gender=Gender.FEMALE), message="a\r\nb\t{{x|y}} \U0001f600")
    async with world.work(tenant) as w:
        for campaign in (plain, full, gendered):
            await w.campaigns.add(campaign)
    async with world.work(tenant) as w:
        for campaign in (plain, full, gendered):
            assert await w.campaigns.get(campaign.id) == campaign
            assert await w.campaigns.get_for_update(campaign.id) == campaign
            assert await w.campaigns.by_name(campaign.name) == campaign
        assert await w.campaigns.get(CampaignId(world.ids.new())) is None
        assert await w.campaigns.get_for_update(CampaignId(world.ids.new())) is None
        assert await w.campaigns.by_name("nothing") is None


async def test_a_campaign_name_is_taken_once(world: World) -> None:
    tenant, other = await world.tenant(), await world.tenant()
    async with world.work(tenant) as w:
        await w.campaigns.add(a_campaign(world, name="Sale"))
    with pytest.raises(AlreadyExists):
        async with world.work(tenant) as w:
            await w.campaigns.add(a_campaign(world, name="Sale"))
    second = a_campaign(world, name="Other")
    async with world.work(tenant) as w:
        await w.campaigns.add(second)
    with pytest.raises(AlreadyExists):
        async with world.work(tenant) as w:
            await w.campaigns.save(attrs.evolve(second, name="Sale"), expected=[CampaignStatus.DRAFT])
    async with world.work(tenant) as w:
        assert await w.campaigns.get(second.id) == second
    async with world.work(other) as w:
        await w.campaigns.add(a_campaign(world, name="Sale"))


async def test_saving_a_campaign_compares_its_status(world: World) -> None:
    tenant = await world.tenant()
    draft = a_campaign(world)
    sending = attrs.evolve(draft, status=CampaignStatus.SENDING, rounds=1, audience=Everybody(), message="new")
    async with world.work(tenant) as w:
        await w.campaigns.add(draft)
        assert not await w.campaigns.save(sending, expected=[CampaignStatus.SCHEDULED])
        assert not await w.campaigns.save(sending, expected=[])
        assert await w.campaigns.get(draft.id) == draft
        assert await w.campaigns.save(sending, expected=[CampaignStatus.SCHEDULED, CampaignStatus.DRAFT])
        assert await w.campaigns.get(draft.id) == sending
        assert not await w.campaigns.save(draft, expected=[CampaignStatus.DRAFT])
        assert not await w.campaigns.save(a_campaign(world), expected=list(CampaignStatus))


async def test_one_of_many_flips_the_status(world: World) -> None:
    tenant = await world.tenant()
    draft = a_campaign(world)
    async with world.work(tenant) as w:
        await w.campaigns.add(draft)

    async def start() -> bool:
        async with world.work(tenant) as w:
            sending = attrs.evolve(draft, status=CampaignStatus.SENDING)
            return await w.campaigns.save(sending, expected=[CampaignStatus.DRAFT])

    assert sorted(answers(await together(*(start() for _ in range(6))))) == [False] * 5 + [True]


async def test_a_removed_campaign_is_gone_and_frees_its_name(world: World) -> None:
    tenant = await world.tenant()
    campaign = a_campaign(world, name="Sale")
    async with world.work(tenant) as w:
        await w.campaigns.add(campaign)
        await w.campaigns.remove(campaign.id)
        assert await w.campaigns.get(campaign.id) is None
        await w.campaigns.add(a_campaign(world, name="Sale"))
        await w.campaigns.remove(CampaignId(world.ids.new()))


# --- links --------------------------------------------------------------------------------------------------------


async def test_links_are_found_by_campaign_and_by_token(world: World) -> None:
    tenant = await world.tenant()
    campaign = CampaignId(world.ids.new())
    links = [
        a_link(world, tenant, campaign, url="https://shop.example/a?q=ü&x=%20"),
        a_link(world, tenant, campaign, expires_at=world.now() + timedelta(days=1)),
    ]
    loose = a_link(world, tenant, None)
    async with world.work(tenant) as w:
        await w.links.add(*links, loose)
        await w.links.add()
    async with world.work(tenant) as w:
        assert sorted(await w.links.for_campaign(campaign), key=lambda x: x.token) == sorted(
            links, key=lambda x: x.token
        )
        assert await w.links.for_campaign(CampaignId(world.ids.new())) == []
    async with world.system() as s:
        for link in (*links, loose):
            assert await s.link_directory.by_token(link.token) == link
        assert await s.link_directory.by_token("nothing") is None


async def test_a_contact_is_found_for_its_unsubscribe_link_even_when_it_is_deleted(world: World) -> None:
    tenant, other = await world.tenant(), await world.tenant()
    kept, gone = await world.contact(tenant, 1), await world.contact(other, 2)
    nameless = await world.contact(other, None)
    async with world.work(other) as w:
        await w.contacts.save(attrs.evolve(gone, deleted_at=world.now()))
    async with world.system() as s:
        assert await s.link_directory.recipient(kept.id) == (tenant, phone(1))
        assert await s.link_directory.recipient(gone.id) == (other, phone(2))
        assert await s.link_directory.recipient(nameless.id) == (other, None)
        assert await s.link_directory.recipient(ContactId(world.ids.new())) is None


async def test_clicks_add_up_over_days_and_links(world: World) -> None:
    tenant = await world.tenant()
    campaign = CampaignId(world.ids.new())
    one, two = a_link(world, tenant, campaign), a_link(world, tenant, campaign)
    loose = a_link(world, tenant, None)
    async with world.work(tenant) as w:
        await w.links.add(one, two, loose)
        assert await w.links.clicks(campaign) == 0
    today, tomorrow = date(2026, 1, 5), date(2026, 1, 6)
    async with world.system() as s:
        await s.link_directory.add_clicks({(tenant, one.token, today): 2, (tenant, two.token, today): 1})
        await s.link_directory.add_clicks({(tenant, one.token, today): 3, (tenant, one.token, tomorrow): 4})
        await s.link_directory.add_clicks({(tenant, loose.token, today): 50})
        await s.link_directory.add_clicks({})
    async with world.work(tenant) as w:
        assert await w.links.clicks(campaign) == 10


async def test_parallel_clicks_are_all_counted(world: World) -> None:
    tenant = await world.tenant()
    campaign = CampaignId(world.ids.new())
    links = [a_link(world, tenant, campaign) for _ in range(3)]
    async with world.work(tenant) as w:
        await w.links.add(*links)

    async def click(n: int) -> None:
        order = links if n % 2 else links[::-1]
        async with world.system() as s:
            await s.link_directory.add_clicks({(tenant, link.token, date(2026, 1, 5)): 1 for link in order})

    answers(await together(*(click(n) for n in range(8))))
    async with world.work(tenant) as w:
        assert await w.links.clicks(campaign) == 24


# --- automations --------------------------------------------------------------------------------------------------


async def test_automations_are_kept_and_listed_by_creation(world: World) -> None:
    tenant = await world.tenant()
    now = world.now()
    made = [
        an_automation(world, f"A{n}", created_at=now - timedelta(hours=n), trigger=trigger)
        for n, trigger in ((2, Trigger.ORDER_PLACED), (3, Trigger.BIRTHDAY), (1, Trigger.WELCOME))
    ]
    async with world.work(tenant) as w:
        for automation in made:
            await w.automations.add(automation)
    async with world.work(tenant) as w:
        assert await w.automations.list() == [made[1], made[0], made[2]]
        assert await w.automations.get(made[0].id) == made[0]
        changed = attrs.evolve(made[0], active=False, message="Neu ü", name="B", trigger=Trigger.REVIEW_REQUEST)
        await w.automations.save(changed)
        assert await w.automations.get(made[0].id) == changed
        await w.automations.remove(made[0].id)
        assert await w.automations.get(made[0].id) is None
        assert await w.automations.get(AutomationId(world.ids.new())) is None


async def test_templates_are_added_once_by_name(world: World) -> None:
    tenant = await world.tenant()
    one, two, three = (a_template(world, name, age=age) for name, age in (("One", 3), ("Two", 2), ("Three", 1)))
    async with world.work(tenant) as w:
        await w.templates.add_missing([one, two])
        await w.templates.add_missing([a_template(world, "One"), three])
        await w.templates.add_missing([])
    async with world.work(tenant) as w:
        assert sorted(await w.templates.list(), key=lambda t: t.created_at) == [one, two, three]


async def test_racing_template_sets_leave_one_of_each(world: World) -> None:
    tenant = await world.tenant()

    async def ensure() -> None:
        async with world.work(tenant) as w:
            await w.templates.add_missing([a_template(world, name) for name in ("One", "Two")])

    answers(await together(*(ensure() for _ in range(4))))
    async with world.work(tenant) as w:
        assert sorted(t.name for t in await w.templates.list()) == ["One", "Two"]


async def test_a_shop_event_is_kept_once(world: World) -> None:
    tenant = await world.tenant()

    async def add(source: str) -> bool:
        async with world.work(tenant) as w:
            return await w.shop_events.add(a_shop_event(world, "e1", source=source))

    assert sorted(answers(await together(*(add("api") for _ in range(5))))) == [False] * 4 + [True]
    assert await add("shopify")
    assert not await add("shopify")
