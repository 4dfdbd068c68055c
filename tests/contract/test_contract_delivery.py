"""Events, their deliveries, timers and senders: at least once, with exactly one effect."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from tests.contract.world import LONG, OVER, World, answers, together

from callboard.delivery.ports import DueTimer
from callboard.ids import CampaignId, RunId, TenantId
from callboard.messages.messages import RunDrained, RunOpened
from callboard.messages.ports import SenderState
from callboard.tenants.model import Channel

TABLE = {"run.opened": ("dispatch", "count"), "run.drained": ("finish",)}


class Stop(Exception):
    """Something of ours that goes wrong."""


async def publish(world: World, tenant: TenantId, n: int = 1) -> list[UUID]:
    """``n`` opened runs told of, as deliveries (two each)."""
    async with world.work(tenant) as w:
        await w.outbox.add(*(RunOpened(run_id=RunId(world.ids.new()), campaign_id=None) for _ in range(n)))
    async with world.system() as s:
        return await s.deliveries.fan_out(TABLE, limit=100)


async def due(world: World) -> list[UUID]:
    """What waits."""
    async with world.system() as s:
        return await s.deliveries.due(limit=100)


# --- fan-out ------------------------------------------------------------------------------------------------------


async def test_every_event_becomes_one_delivery_for_each_subscriber(world: World) -> None:
    tenant, other = await world.tenant(), await world.tenant()
    opened = RunOpened(run_id=RunId(world.ids.new()), campaign_id=CampaignId(world.ids.new()))
    drained = RunDrained(run_id=RunId(world.ids.new()), campaign_id=None)
    async with world.work(tenant) as w:
        await w.outbox.add(opened)
    async with world.work(other) as w:
        await w.outbox.add(drained)
        await w.outbox.add()
    async with world.system() as s:
        made = await s.deliveries.fan_out(TABLE, limit=100)
        assert len(set(made)) == 3
        assert sorted(await s.deliveries.due(limit=100)) == sorted(made)
        claimed = [await s.deliveries.claim(d, lease=LONG) for d in made]
    found = {(d.subscriber, d.stored.tenant_id, d.stored.event, d.attempt) for d in claimed if d is not None}
    assert found == {
        ("dispatch", tenant, opened, 1),
        ("count", tenant, opened, 1),
        ("finish", other, drained, 1),
    }
    ids = {d.stored.id for d in claimed if d is not None}
    assert len(ids) == 2
    for one in claimed:
        assert one is not None
        assert abs(one.stored.created_at - world.now()) < timedelta(minutes=1)


async def test_an_event_is_fanned_out_once(world: World) -> None:
    tenant = await world.tenant()
    assert len(await publish(world, tenant, 3)) == 6
    async with world.system() as s:
        assert await s.deliveries.fan_out(TABLE, limit=100) == []


async def test_relays_that_race_fan_out_every_event_once(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        await w.outbox.add(*(RunOpened(run_id=RunId(world.ids.new()), campaign_id=None) for _ in range(10)))

    async def relay() -> list[UUID]:
        async with world.system() as s:
            return await s.deliveries.fan_out(TABLE, limit=4)

    made = [d for some in answers(await together(*(relay() for _ in range(5)))) for d in some]
    while some := await relay():
        made += some
    assert len(made) == len(set(made)) == 20
    assert sorted(await due(world)) == sorted(made)


async def test_fan_out_has_a_limit_in_events(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        await w.outbox.add(*(RunOpened(run_id=RunId(world.ids.new()), campaign_id=None) for _ in range(3)))
    async with world.system() as s:
        assert len(await s.deliveries.fan_out(TABLE, limit=2)) == 4
        assert len(await s.deliveries.fan_out(TABLE, limit=2)) == 2


async def test_an_event_without_subscribers_is_done(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        await w.outbox.add(RunDrained(run_id=RunId(world.ids.new()), campaign_id=None))
    async with world.system() as s:
        assert await s.deliveries.fan_out({"run.opened": ["x"]}, limit=9) == []
        assert await s.deliveries.fan_out(TABLE, limit=9) == []
        assert await s.deliveries.purge(older_than=world.now() + timedelta(hours=1)) == 1


async def test_events_of_many_tenants_told_across_them(world: World) -> None:
    one, two = await world.tenant(), await world.tenant()
    event = RunDrained(run_id=RunId(world.ids.new()), campaign_id=None)
    async with world.system() as s:
        await s.outboxes.add(one, event)
        await s.outboxes.add(two, event, event)
    async with world.system() as s:
        made = await s.deliveries.fan_out(TABLE, limit=9)
        claimed = [await s.deliveries.claim(d, lease=LONG) for d in made]
    assert sorted(d.stored.tenant_id for d in claimed if d) == sorted([one, two, two])


# --- claim, finish, retry, bury, replay ---------------------------------------------------------------------------


async def test_a_delivery_is_held_by_one(world: World) -> None:
    tenant = await world.tenant()
    delivery, other = await publish(world, tenant)

    async def claim() -> int:
        async with world.system() as s:
            found = await s.deliveries.claim(delivery, lease=LONG)
        return 0 if found is None else found.attempt

    assert sorted(answers(await together(*(claim() for _ in range(5))))) == [0] * 4 + [1]
    assert await due(world) == [other]
    async with world.system() as s:
        assert await s.deliveries.claim(UUID(int=1), lease=LONG) is None


async def test_a_finished_delivery_is_done_for_ever(world: World) -> None:
    tenant = await world.tenant()
    delivery, other = await publish(world, tenant)
    async with world.system() as s:
        assert await s.deliveries.claim(delivery, lease=OVER) is not None

    async def finish() -> bool:
        async with world.work(tenant) as w:
            return await w.inbox.finish_delivery(delivery, attempt=1)

    assert sorted(answers(await together(*(finish() for _ in range(4))))) == [False] * 3 + [True]
    assert await due(world) == [other]
    async with world.system() as s:
        assert await s.deliveries.claim(delivery, lease=LONG) is None
        await s.deliveries.retry(delivery, attempt=1, at=world.now(), error="late")
        await s.deliveries.bury(delivery, attempt=1, error="late")
        assert await s.deliveries.dead() == []
        assert not await s.deliveries.replay(delivery)
    assert await due(world) == [other]


async def test_an_effect_and_its_mark_commit_together(world: World) -> None:
    tenant = await world.tenant()
    delivery, _ = await publish(world, tenant)
    async with world.system() as s:
        await s.deliveries.claim(delivery, lease=OVER)
    try:
        async with world.work(tenant) as w:
            assert await w.inbox.finish_delivery(delivery, attempt=1)
            await w.credits.book(world.entry("effect", 1))
            raise Stop
    except Stop:
        pass
    async with world.system() as s:
        again = await s.deliveries.claim(delivery, lease=LONG)
    assert again is not None
    assert again.attempt == 2
    async with world.work(tenant) as w:
        assert await w.credits.balance() == 0
        assert await w.inbox.finish_delivery(delivery, attempt=2)


async def test_a_delivery_whose_lease_is_over_is_taken_over(world: World) -> None:
    tenant = await world.tenant()
    delivery, held = await publish(world, tenant)
    async with world.system() as s:
        assert await s.deliveries.claim(held, lease=LONG) is not None
        first = await s.deliveries.claim(delivery, lease=timedelta(milliseconds=50))
        assert first is not None
    await world.wait(0.1)
    assert await due(world) == [delivery]
    async with world.system() as s:
        second = await s.deliveries.claim(delivery, lease=LONG)
    assert second is not None
    assert (first.attempt, second.attempt) == (1, 2)
    async with world.work(tenant) as w:
        assert not await w.inbox.finish_delivery(delivery, attempt=1)
        assert await w.inbox.finish_delivery(delivery, attempt=2)


async def test_a_retry_waits_for_its_time(world: World) -> None:
    tenant = await world.tenant()
    far, near = await publish(world, tenant)
    async with world.system() as s:
        for delivery, wait in ((far, timedelta(hours=1)), (near, timedelta(milliseconds=50))):
            assert await s.deliveries.claim(delivery, lease=LONG) is not None
            await s.deliveries.retry(delivery, attempt=7, at=world.now(), error="not mine")
            assert await s.deliveries.claim(delivery, lease=LONG) is None
            await s.deliveries.retry(delivery, attempt=1, at=world.now() + wait, error="boom")
    await world.wait(0.1)
    assert await due(world) == [near]
    async with world.system() as s:
        assert await s.deliveries.claim(far, lease=LONG) is None
        found = await s.deliveries.claim(near, lease=LONG)
    assert found is not None
    assert found.attempt == 2


async def test_a_buried_delivery_is_visible_until_it_is_replayed(world: World) -> None:
    tenant = await world.tenant()
    delivery, other = await publish(world, tenant)
    async with world.system() as s:
        await s.deliveries.claim(delivery, lease=LONG)
        await s.deliveries.bury(delivery, attempt=2, error="not mine")
        assert await s.deliveries.dead() == []
        await s.deliveries.bury(delivery, attempt=1, error="boom ü")
    async with world.system() as s:
        (dead,) = await s.deliveries.dead()
        assert (dead.id, dead.tenant_id, dead.event_type, dead.subscriber, dead.attempts, dead.error) == (
            delivery,
            tenant,
            "run.opened",
            dead.subscriber,
            1,
            "boom ü",
        )
        assert dead.subscriber in TABLE["run.opened"]
        assert abs(dead.at - world.now()) < timedelta(minutes=1)
        assert await s.deliveries.due(limit=9) == [other]
        assert await s.deliveries.claim(delivery, lease=LONG) is None
        assert await s.deliveries.dead(limit=0) == []
    async with world.work(tenant) as w:
        assert not await w.inbox.finish_delivery(delivery, attempt=1)
    async with world.system() as s:
        assert await s.deliveries.replay(delivery)
        assert not await s.deliveries.replay(delivery)
        assert not await s.deliveries.replay(other)
        assert await s.deliveries.dead() == []
        again = await s.deliveries.claim(delivery, lease=LONG)
        assert again is not None
        assert again.attempt == 1


async def test_due_has_a_limit(world: World) -> None:
    tenant = await world.tenant()
    made = await publish(world, tenant, 3)
    async with world.system() as s:
        some = await s.deliveries.due(limit=4)
    assert len(some) == 4
    assert set(some) < set(made)


async def test_purging_forgets_events_whose_deliveries_are_all_done(world: World) -> None:
    tenant = await world.tenant()
    await publish(world, tenant, 2)
    later = world.now() + timedelta(hours=1)
    async with world.system() as s:
        found = [await s.deliveries.claim(d, lease=LONG) for d in await s.deliveries.due(limit=9)]
    by_event: dict[UUID, list[UUID]] = {}
    for one in found:
        assert one is not None
        by_event.setdefault(one.stored.id, []).append(one.id)
    (a1, a2), (b1, _) = by_event.values()
    async with world.work(tenant) as w:
        for delivery in (a1, a2, b1):
            assert await w.inbox.finish_delivery(delivery, attempt=1)
        await w.outbox.add(RunDrained(run_id=RunId(world.ids.new()), campaign_id=None))
    async with world.system() as s:
        assert await s.deliveries.purge(older_than=world.now() - timedelta(hours=1)) == 0
        assert await s.deliveries.purge(older_than=later) == 1
        assert await s.deliveries.purge(older_than=later) == 0
        assert len(await s.deliveries.fan_out(TABLE, limit=9)) == 1


# --- timers -------------------------------------------------------------------------------------------------------


async def tick(world: World, *, lease: timedelta = LONG, limit: int = 9) -> list[DueTimer]:
    """Claim what is due."""
    async with world.system() as s:
        return await s.timers.claim_due(limit=limit, lease=lease)


async def test_a_timer_fires_no_earlier_than_it_is_due(world: World) -> None:
    tenant = await world.tenant()
    at = world.now() + timedelta(milliseconds=50)
    async with world.work(tenant) as w:
        await w.timers.set("campaign", "near", at)
        await w.timers.set("campaign", "far", at + timedelta(hours=1))
    await world.wait(0.1)
    assert await tick(world) == [DueTimer(tenant_id=tenant, kind="campaign", key="near", due_at=at, claim=1)]
    assert await tick(world) == []


async def test_a_finished_timer_is_gone(world: World) -> None:
    tenant = await world.tenant()
    past = world.now() - timedelta(hours=1)
    async with world.work(tenant) as w:
        await w.timers.set("k", "1", past)
    (timer,) = await tick(world, lease=OVER)

    async def finish() -> bool:
        async with world.work(tenant) as w:
            return await w.inbox.finish_timer(timer)

    assert sorted(answers(await together(*(finish() for _ in range(4))))) == [False] * 3 + [True]
    assert await tick(world) == []


async def test_a_timer_may_be_set_again_in_the_transaction_that_finishes_it(world: World) -> None:
    tenant = await world.tenant()
    past = world.now() - timedelta(hours=2)
    async with world.work(tenant) as w:
        await w.timers.set("k", "1", past)
    (timer,) = await tick(world)
    async with world.work(tenant) as w:
        assert await w.inbox.finish_timer(timer)
        await w.timers.set("k", "1", past + timedelta(hours=1))
    (again,) = await tick(world)
    assert (again.due_at, again.claim) == (past + timedelta(hours=1), 1)


async def test_a_timer_whose_lease_is_over_is_claimed_again(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        await w.timers.set("k", "1", world.now() - timedelta(hours=1))
    (first,) = await tick(world, lease=OVER)
    (second,) = await tick(world)
    assert (first.claim, second.claim) == (1, 2)
    async with world.work(tenant) as w:
        assert not await w.inbox.finish_timer(first)
        assert await w.inbox.finish_timer(second)


async def test_a_moved_timer_is_not_finished_by_its_old_claim(world: World) -> None:
    tenant = await world.tenant()
    past, future = world.now() - timedelta(hours=1), world.now() + timedelta(hours=1)
    async with world.work(tenant) as w:
        await w.timers.set("k", "1", past)
    (timer,) = await tick(world)
    async with world.work(tenant) as w:
        await w.timers.set("k", "1", future)
    async with world.work(tenant) as w:
        assert not await w.inbox.finish_timer(timer)
    assert await tick(world) == []
    async with world.work(tenant) as w:
        await w.timers.set("k", "1", past)
    (moved,) = await tick(world)
    assert moved.due_at == past


async def test_a_cleared_timer_does_not_fire(world: World) -> None:
    tenant = await world.tenant()
    past = world.now() - timedelta(hours=1)
    async with world.work(tenant) as w:
        await w.timers.set("k", "1", past)
        await w.timers.set("k", "2", past)
        await w.timers.clear("k", "1")
        await w.timers.clear("k", "never set")
    (timer,) = await tick(world)
    assert timer.key == "2"
    async with world.work(tenant) as w:
        await w.timers.clear("k", "2")
    async with world.work(tenant) as w:
        assert not await w.inbox.finish_timer(timer)


async def test_any_number_of_tickers_share_the_timers(world: World) -> None:
    tenants = [await world.tenant() for _ in range(2)]
    past = world.now() - timedelta(hours=1)
    for tenant in tenants:
        async with world.work(tenant) as w:
            for n in range(6):
                await w.timers.set("k", str(n), past)
    claimed = [t for some in answers(await together(*(tick(world, limit=4) for _ in range(5)))) for t in some]
    while some := await tick(world, limit=4):
        claimed += some
    assert sorted((t.tenant_id, t.key, t.claim) for t in claimed) == sorted(
        (tenant, str(n), 1) for tenant in tenants for n in range(6)
    )


# --- senders ------------------------------------------------------------------------------------------------------


async def test_a_sender_is_paused_with_a_reason_and_resumed(world: World) -> None:
    tenant = await world.tenant()
    until = world.now() + timedelta(hours=1)
    async with world.work(tenant) as w:
        assert await w.senders.state(Channel.SMS) == SenderState()
        await w.senders.resume(Channel.SMS)
        await w.senders.pause(Channel.SMS, until=until, reason="credentials")
    async with world.work(tenant) as w:
        assert await w.senders.state(Channel.SMS) == SenderState(paused_until=until, reason="credentials")
        assert await w.senders.state(Channel.WHATSAPP) == SenderState()
        await w.senders.resume(Channel.SMS)
        assert await w.senders.state(Channel.SMS) == SenderState()


async def test_slots_are_booked_one_after_the_other(world: World) -> None:
    tenant = await world.tenant()
    now = world.now()

    async def reserve(n: int, *, per_second: float = 10, after: float = 0) -> float:
        async with world.work(tenant) as w:
            at = now + timedelta(seconds=after)
            start = await w.senders.reserve(Channel.SMS, n, per_second=per_second, now=at)
        return round((start - now).total_seconds(), 3)

    assert await reserve(20) == 0
    assert await reserve(0) == 2
    assert await reserve(10) == 2
    assert await reserve(1) == 3
    assert await reserve(1, after=60) == 60
    assert await reserve(1, after=60) == 60.1


async def test_slots_survive_a_pause_and_parallel_callers(world: World) -> None:
    tenant = await world.tenant()
    now = world.now()

    async def reserve() -> float:
        async with world.work(tenant) as w:
            start = await w.senders.reserve(Channel.SMS, 5, per_second=10, now=now)
        return round((start - now).total_seconds(), 3)

    assert await reserve() == 0
    async with world.work(tenant) as w:
        await w.senders.pause(Channel.SMS, until=now, reason="x")
        await w.senders.resume(Channel.SMS)
    assert sorted(answers(await together(*(reserve() for _ in range(4))))) == [0.5, 1.0, 1.5, 2.0]


async def test_no_rate_is_no_limit(world: World) -> None:
    tenant = await world.tenant()
    now = world.now()
    async with world.work(tenant) as w:
        for _ in range(3):
            assert await w.senders.reserve(Channel.SMS, 100, per_second=0, now=now) == now
