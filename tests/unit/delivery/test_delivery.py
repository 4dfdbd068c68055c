"""Events to subscribers, timers to handlers: at least once, exactly one effect."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import attrs
import pytest
from cattrs.errors import ClassValidationError
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.messages.shop import Shop, hex_id

from callboard.contacts.messages import ContactOptedOut, ContactUpdated
from callboard.contacts.model import ConsentSource
from callboard.delivery.deliver import Deliverer, Outcome, describe
from callboard.delivery.ports import DueTimer
from callboard.delivery.relay import Relay
from callboard.delivery.serial import UnknownEvent, dump_event, load_event
from callboard.delivery.ticker import MAX_CLAIMS, Ticker, TimerHandler
from callboard.errors import Conflict
from callboard.events import Event, StoredEvent
from callboard.ids import CampaignId, ContactId, RunId
from callboard.messages.messages import OptOutReported, RunDrained, RunOpened
from callboard.subscriptions import SUBSCRIPTIONS, handlers, timer_handlers

EVENT = OptOutReported(phone="+919800000001")
Handle = Callable[[Any, StoredEvent], Awaitable[Sequence[str]]]


def deliverer(shop: Shop, handler: Handle) -> Deliverer[Any]:
    return Deliverer(system=shop.system, work=shop.work, hints=shop.hints, clock=shop.clock, handlers={"test": handler})


async def published(shop: Shop, event: Event = EVENT) -> UUID:
    async with shop.work(shop.tenant) as w:
        await w.outbox.add(event)
    relay = Relay(system=shop.system, hints=shop.hints, subscribers={event.type: ("test",)})
    assert await relay.run_once() == 1
    ((identifier,),) = shop.hints.take("deliver")
    return UUID(identifier)


async def test_an_event_reaches_every_subscriber_once_and_wakes_somebody_for_each() -> None:
    shop = await Shop().open(0)
    async with shop.work(shop.tenant) as w:
        await w.outbox.add(EVENT, RunOpened(run_id=RunId(hex_id(1)), campaign_id=None))
    relay = Relay(system=shop.system, hints=shop.hints, subscribers={EVENT.type: ("a", "b")})
    assert await relay.run_once() == 2
    assert await relay.run_once() == 0
    assert len(list(shop.hints.take("deliver"))) == 2


async def test_the_effect_and_its_mark_commit_together() -> None:
    shop = await Shop(credits=0).open(0)

    async def effect(w: Any, stored: StoredEvent) -> Sequence[str]:
        await w.settings.put({"seen": stored.event.phone})  # type: ignore[attr-defined]
        return ("dispatch",)

    delivery = await published(shop)
    assert await deliverer(shop, effect).deliver(delivery) is Outcome.DONE
    assert ("dispatch", ()) in shop.hints.heard
    assert await deliverer(shop, effect).deliver(delivery) is Outcome.GONE
    async with shop.work(shop.tenant) as w:
        assert (await w.settings.all())["seen"] == EVENT.phone


async def test_a_failing_subscriber_leaves_no_effect_is_retried_with_growing_waits_and_then_buried_visibly() -> None:
    shop = await Shop().open(0)
    tries: list[float] = []

    async def effect(w: Any, stored: StoredEvent) -> Sequence[str]:
        tries.append(shop.clock.now().timestamp())
        await w.settings.put({"half": "done"})
        raise Conflict("cannot now")

    delivery = await published(shop)
    worker, outcomes = deliverer(shop, effect), []
    for _ in range(400):
        outcome = await worker.deliver(delivery)
        if outcome is not Outcome.GONE:
            outcomes.append(outcome)
        await shop.wait(seconds=5)
    assert outcomes == [Outcome.RETRY] * 4 + [Outcome.BURIED]
    gaps = [b - a for a, b in itertools.pairwise(tries)]
    assert gaps == [5, 30, 180, 1080]
    async with shop.work(shop.tenant) as w:
        assert "half" not in await w.settings.all()
    async with shop.system() as s:
        (dead,) = await s.deliveries.dead()
        assert (dead.subscriber, dead.attempts, dead.error) == ("test", 5, "CONFLICT: cannot now")
        assert await s.deliveries.replay(delivery)
    assert await worker.deliver(delivery) is Outcome.RETRY


async def test_a_subscriber_that_nobody_knows_is_a_failure_and_never_done() -> None:
    shop = await Shop().open(0)
    delivery = await published(shop)
    empty: Deliverer[Any] = Deliverer(
        system=shop.system, work=shop.work, hints=shop.hints, clock=shop.clock, handlers={}
    )
    assert await empty.deliver(delivery) is Outcome.RETRY


async def test_a_second_executor_after_a_lost_lease_has_no_second_effect() -> None:
    shop = await Shop(credits=0).open(0)
    effects: list[int] = []

    async def effect(w: Any, stored: StoredEvent) -> Sequence[str]:
        effects.append(1)
        return ()

    delivery = await published(shop)
    async with shop.system() as s:
        slow = await s.deliveries.claim(delivery, lease=timedelta(seconds=60))
    assert slow is not None
    await shop.wait(seconds=61)
    assert await deliverer(shop, effect).deliver(delivery) is Outcome.DONE
    async with shop.work(shop.tenant) as w:
        assert not await w.inbox.finish_delivery(delivery, attempt=slow.attempt)
    assert effects == [1]


async def test_a_lost_commit_answer_does_not_reopen_what_is_done() -> None:
    class LostAnswer(Exception):
        pass

    lost: list[str] = []

    async def checkpoint(moment: str) -> None:
        if lost and moment == "after commit":
            lost.clear()
            raise LostAnswer

    shop = await Shop(checkpoint=checkpoint).open(0)

    async def effect(w: Any, stored: StoredEvent) -> Sequence[str]:
        lost.append("now")
        return ()

    delivery = await published(shop)
    worker = deliverer(shop, effect)
    assert await worker.deliver(delivery) is Outcome.RETRY
    await shop.wait(hours=1)
    assert await worker.deliver(delivery) is Outcome.GONE


async def test_workers_that_die_without_a_word_use_up_the_attempts() -> None:
    shop = await Shop().open(0)

    async def effect(w: Any, stored: StoredEvent) -> Sequence[str]:
        raise AssertionError("not reached")

    delivery = await published(shop)
    for _ in range(5):
        async with shop.system() as s:
            assert await s.deliveries.claim(delivery, lease=timedelta(seconds=1)) is not None
        await shop.wait(seconds=2)
    assert await deliverer(shop, effect).deliver(delivery) is Outcome.BURIED


def test_a_stored_error_never_quotes_foreign_text() -> None:
    assert describe(ValueError("+919876543210 said hello")) == "builtins.ValueError"
    assert describe(Conflict("Not now")) == "CONFLICT: Not now"


# --- timers -----------------------------------------------------------------------------------------------------------


def ticker(shop: Shop, fire: Any, give_up: Any = None, seen: list[Exception] | None = None) -> Ticker[Any]:
    handler = TimerHandler(fire=fire, give_up=give_up or fire)
    return Ticker(
        system=shop.system,
        work=shop.work,
        hints=shop.hints,
        handlers={"test": handler},
        report=lambda _, error: None if seen is None else seen.append(error),
    )


async def test_a_timer_fires_once_and_never_early_and_its_handler_may_set_it_anew() -> None:
    shop = await Shop().open(0)
    fired: list[Any] = []

    async def fire(w: Any, timer: DueTimer) -> Sequence[str]:
        fired.append(shop.clock.now())
        if len(fired) < 3:
            await w.timers.set("test", timer.key, timer.due_at + timedelta(minutes=10))
        return ("dispatch",)

    start = shop.clock.now()
    async with shop.work(shop.tenant) as w:
        await w.timers.set("test", "k", start + timedelta(minutes=10))
    for _ in range(60):
        await ticker(shop, fire).run_once()
        await ticker(shop, fire).run_once()
        await shop.wait(minutes=1)
    assert [moment - start for moment in fired] == [timedelta(minutes=10 * n) for n in (1, 2, 3)]
    assert ("dispatch", ()) in shop.hints.heard


async def test_a_failing_timer_is_reported_retried_after_its_lease_and_given_up_where_people_see_it() -> None:
    shop = await Shop().open(0)
    seen: list[Exception] = []
    given_up: list[DueTimer] = []
    others: list[str] = []

    async def fire(w: Any, timer: DueTimer) -> Sequence[str]:
        if timer.key == "good":
            others.append(timer.key)
            return ()
        raise RuntimeError("always")

    async def give_up(w: Any, timer: DueTimer) -> None:
        given_up.append(timer)

    async with shop.work(shop.tenant) as w:
        await w.timers.set("test", "bad", shop.clock.now())
        await w.timers.set("test", "good", shop.clock.now())
    for _ in range(20):
        await ticker(shop, fire, give_up, seen).run_once()
        await shop.wait(seconds=61)
    assert others == ["good"], "a bad neighbour stops nobody"
    assert len(seen) == MAX_CLAIMS
    assert [timer.key for timer in given_up] == ["bad"]


async def test_a_timer_of_a_newer_version_is_left_alone() -> None:
    shop = await Shop().open(0)
    fired: list[str] = []

    async def fire(w: Any, timer: DueTimer) -> Sequence[str]:
        fired.append(timer.kind)
        return ()

    async with shop.work(shop.tenant) as w:
        await w.timers.set("from.the.future", "k", shop.clock.now())
    assert await ticker(shop, fire).run_once() == 0
    await shop.wait(minutes=2)
    async with shop.system() as s:
        assert [t.kind for t in await s.timers.claim_due(limit=9, lease=timedelta(0))] == ["from.the.future"]
    assert fired == []


# --- the tables and the stored form -----------------------------------------------------------------------------------


def test_every_subscription_has_its_handler_and_every_handler_a_subscription() -> None:
    shop = Shop()
    named = {name for names in SUBSCRIPTIONS.values() for name in names}
    assert named == set(handlers(rounds=shop.rounds, clock=shop.clock))
    assert set(timer_handlers(rounds=shop.rounds)) == {"campaign.start"}
    for type_ in SUBSCRIPTIONS:
        with pytest.raises(ClassValidationError):  # the class is known, its fields are missing
            load_event(type_, 1, "{}")


ids = st.uuids()
events = st.one_of(
    st.builds(RunOpened, run_id=ids.map(RunId), campaign_id=st.none() | ids.map(CampaignId)),
    st.builds(RunDrained, run_id=ids.map(RunId), campaign_id=st.none() | ids.map(CampaignId)),
    st.builds(ContactUpdated, contact_id=ids.map(ContactId), fields=st.lists(st.text()).map(tuple)),
    st.builds(ContactOptedOut, contact_id=st.none() | ids.map(ContactId), source=st.sampled_from(ConsentSource)),
)


@given(events)
def test_an_event_comes_back_as_it_was_stored(event: Event) -> None:
    assert load_event(event.type, event.version, dump_event(event)) == event


def test_an_event_class_of_ones_own_is_known_by_being_one() -> None:
    @attrs.frozen(kw_only=True)
    class Tested(Event):
        type: ClassVar[str] = "test.happened"
        version: ClassVar[int] = 3
        n: int

    assert load_event("test.happened", 3, dump_event(Tested(n=5))) == Tested(n=5)
    assert load_event("test.happened", 3, '{"n": 5, "added_later": 1}') == Tested(n=5)
    with pytest.raises(UnknownEvent):
        load_event("test.happened", 4, "{}")
