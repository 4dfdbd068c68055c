"""Sending on the memory store: waves, answers, stops, pauses and what a crash leaves."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.messages.shop import Shop, drive

from callboard.campaigns.model import CampaignStatus
from callboard.contacts.model import Consent, ConsentSource
from callboard.contacts.service import ContactService
from callboard.errors import NotConfigured
from callboard.ids import RunId, TenantId
from callboard.messages.model import Fact, Reason, State
from callboard.messages.ports import Ambiguous, ChannelClient, NotSent, Outbound, Refused, SenderBlocked
from callboard.tenants.model import Channel
from callboard_adapters.memory import MemoryChannel, in_turn

REFUSED = Refused(reason=Reason.NOT_ON_CHANNEL, provider_code="131026")
BUSY = NotSent(reason=Reason.PROVIDER_BUSY, throttled=True)
UNREACHABLE = NotSent(reason=Reason.PROVIDER_UNREACHABLE)


def phones(shop: Shop) -> Counter[str]:
    return Counter(message.to for _, message in shop.provider.accepted)


async def enqueued(shop: Shop) -> RunId:
    return (await shop.campaigns.enqueue(shop.tenant, (await shop.campaign()).id)).run_id


async def test_everybody_gets_one_personal_message_with_a_way_out() -> None:
    shop = await Shop(chunk=7, provider=MemoryChannel(concurrency=3)).open(people=20)
    run = await enqueued(shop)
    await shop.send_all()
    assert set(phones(shop).values()) == {1}
    texts = [message.text for _, message in shop.provider.accepted]
    assert texts[0].startswith("Hi P1\nUnsubscribe: https://cb.example/unsubscribe/")
    assert len(set(texts)) == 20
    assert (await shop.tally(run))[State.ACCEPTED] == 20
    assert await shop.balance() == 980
    await shop.conserved()


async def test_one_rejected_number_touches_no_neighbour_and_only_its_credit_comes_back() -> None:
    shop = await Shop(provider=MemoryChannel(script=lambda m: REFUSED if m.reference.seq == 3 else None)).open(10)
    run = await enqueued(shop)
    await shop.send_all()
    assert await shop.states(run) == [State.FAILED if seq == 3 else State.ACCEPTED for seq in range(1, 11)]
    row = await shop.row(run, 3)
    assert (row.reason, row.provider_code, row.credits) == (Reason.NOT_ON_CHANNEL, "131026", 0)
    assert all(m.provider_message_id for m in await shop.rows(run) if m.state is State.ACCEPTED)
    assert await shop.balance() == 991
    await shop.dispatch()
    assert len(shop.provider.asked) == 10, "nobody was asked twice"
    await shop.conserved()


async def test_a_lost_answer_is_unknown_and_never_sent_again() -> None:
    shop = await Shop(provider=MemoryChannel(script=lambda m: Ambiguous() if m.reference.seq == 2 else None)).open(3)
    run = await enqueued(shop)
    await shop.send_all()
    for _ in range(30):
        await shop.wait(hours=1)
        await shop.sweep()
        await shop.dispatch()
    assert len(shop.provider.asked) == 3
    assert (await shop.row(run, 2)).state is State.UNCONFIRMED
    assert await shop.balance() == 998
    await shop.conserved()


async def test_a_client_that_raises_leaves_its_wave_unknown() -> None:
    class Broken(MemoryChannel):
        async def send(self, batch: Any) -> Any:
            await super().send(batch)
            raise RuntimeError("the client broke its promise")

    shop = await Shop(provider=Broken()).open(4)
    run = await enqueued(shop)
    await shop.send_all()
    assert set(await shop.states(run)) == {State.UNKNOWN}
    await shop.wait(days=1, seconds=1)
    await shop.sweep()
    assert len(shop.provider.asked) == 4
    assert await shop.balance() == 1000
    await shop.conserved()


async def test_too_few_answers_leave_the_rest_unknown() -> None:
    class Short(MemoryChannel):
        async def send(self, batch: Any) -> Any:
            return (await super().send(batch))[:-1]

    shop = await Shop(provider=Short()).open(3)
    run = await enqueued(shop)
    await shop.send_all()
    assert await shop.states(run) == [State.ACCEPTED, State.ACCEPTED, State.UNKNOWN]


async def test_what_never_left_is_tried_again_later_and_arrives_once() -> None:
    shop = await Shop(provider=MemoryChannel(script=in_turn(None, UNREACHABLE, None))).open(3)
    run = await enqueued(shop)
    await shop.dispatch()
    row = await shop.row(run, 2)
    assert (row.state, row.attempt, row.credits) == (State.QUEUED, 1, 1)
    assert row.next_at is not None
    await shop.dispatch()
    assert len(shop.provider.asked) == 3, "not before it is due"
    await shop.wait(minutes=1)
    await shop.send_all()
    assert set(phones(shop).values()) == {1}
    assert (await shop.row(run, 2)).attempt == 2
    assert await shop.balance() == 997


async def test_after_five_attempts_it_fails_and_the_credit_comes_back() -> None:
    shop = await Shop(provider=MemoryChannel(script=lambda _: UNREACHABLE)).open(1)
    run = await enqueued(shop)
    for _ in range(12):
        await shop.send_all()
        await shop.wait(hours=1, minutes=15)
    assert len(shop.provider.asked) == 5
    row = await shop.row(run)
    assert (row.state, row.reason, row.attempt) == (State.FAILED, Reason.GAVE_UP, 5)
    assert await shop.balance() == 1000
    await shop.conserved()


async def test_throttling_burns_no_attempts_for_a_day() -> None:
    shop = await Shop(provider=MemoryChannel(script=in_turn(*[BUSY] * 20))).open(1)
    run = await enqueued(shop)
    for _ in range(20):
        await shop.dispatch()
        assert (await shop.row(run)).attempt == 0
        await shop.wait(minutes=5)
    await shop.send_all()
    assert (await shop.row(run)).state is State.ACCEPTED
    assert (await shop.row(run)).attempt == 1


async def test_a_provider_that_takes_nothing_of_a_wave_is_not_asked_for_the_rest() -> None:
    shop = await Shop(provider=MemoryChannel(concurrency=4, script=lambda _: UNREACHABLE)).open(12)
    run = await enqueued(shop)
    await shop.dispatch()
    assert len(shop.provider.asked) == 4
    assert [row.attempt for row in await shop.rows(run)] == [1] * 4 + [0] * 8


async def test_a_blocked_sender_pauses_for_all_chunks_and_goes_on_afterwards() -> None:
    blocked = SenderBlocked(provider_code="190", reason="token expired", pause=timedelta(minutes=10))
    shop = await Shop(chunk=2, provider=MemoryChannel(script=in_turn(blocked, blocked))).open(6)
    run = await enqueued(shop)
    await shop.dispatch()
    assert len(shop.provider.asked) == 2
    async with shop.work(shop.tenant) as w:
        assert (await w.senders.state(Channel.SMS)).reason == "token expired"
    assert await shop.states(run) == [State.QUEUED] * 6
    await shop.wait(minutes=10, seconds=1)
    await shop.send_all()
    assert set(await shop.states(run)) == {State.ACCEPTED}
    assert set(phones(shop).values()) == {1}


async def test_without_a_provider_nothing_is_lost_and_people_see_what_is_missing() -> None:
    class Missing:
        async def client(self, tenant: TenantId, channel: Channel) -> ChannelClient:
            raise NotConfigured("Set CALLBOARD_SMS_API_KEY")

    shop = await Shop().open(3)
    run, real = await enqueued(shop), shop.channels
    shop.channels = Missing()
    for _ in range(10):  # more often than a poisoned chunk would survive
        await shop.dispatch()
        await shop.wait(minutes=2)
    async with shop.work(shop.tenant) as w:
        assert (await w.senders.state(Channel.SMS)).reason == "Set CALLBOARD_SMS_API_KEY"
    assert await shop.states(run) == [State.QUEUED] * 3
    shop.channels = real
    await shop.wait(minutes=2)
    await shop.send_all()
    assert set(await shop.states(run)) == {State.ACCEPTED}


async def test_a_stop_finishes_the_wave_in_flight_gives_the_chunk_back_and_leaves_nothing_unknown() -> None:
    shop = await Shop(provider=MemoryChannel(concurrency=2)).open(10)
    run = await enqueued(shop)
    await shop.dispatcher().run_once(stopping=lambda: len(shop.provider.asked) >= 4)
    assert Counter(await shop.states(run)) == {State.ACCEPTED: 4, State.QUEUED: 6}
    await shop.dispatcher("w2").run_once()
    assert set(await shop.states(run)) == {State.ACCEPTED}
    assert set(phones(shop).values()) == {1}


async def test_waves_keep_the_senders_rate_and_hold_no_more_than_a_second_of_it() -> None:
    shop = await Shop(provider=MemoryChannel(concurrency=32, per_second=5)).open(40)
    began = shop.clock.now()
    run = await enqueued(shop)
    sizes: list[int] = []
    send = shop.provider.send

    class Watched:
        concurrency, per_second = 32, 5.0

        async def send(self, batch: list[Outbound]) -> Any:
            sizes.append(len(batch))
            return await send(batch)

    shop.channels.provider = Watched()
    await shop.dispatch()
    assert set(await shop.states(run)) == {State.ACCEPTED}
    assert max(sizes) == 5
    assert shop.clock.now() - began >= timedelta(seconds=7)


async def test_a_sender_booked_far_ahead_is_left_alone_with_nothing_marked() -> None:
    shop = await Shop(provider=MemoryChannel(per_second=1)).open(3)
    run = await enqueued(shop)
    async with shop.work(shop.tenant) as w:
        await w.senders.reserve(Channel.SMS, 60, per_second=1, now=shop.clock.now())
    await shop.dispatch()
    assert await shop.states(run) == [State.QUEUED] * 3
    await shop.wait(minutes=2)
    await shop.send_all()
    assert set(await shop.states(run)) == {State.ACCEPTED}


async def test_an_opt_out_after_the_enqueue_is_honoured_and_its_credit_comes_back() -> None:
    shop = await Shop(provider=MemoryChannel(concurrency=1)).open(3)
    run = await enqueued(shop)
    people = ContactService(work=shop.work, clock=shop.clock, ids=shop.ids)
    await people.opt_out(shop.tenant, "+919800000002", source=ConsentSource.UNSUBSCRIBE_LINK)
    await shop.send_all()
    assert await shop.states(run) == [State.ACCEPTED, State.SKIPPED, State.ACCEPTED]
    row = await shop.row(run, 2)
    assert row.reason in (Reason.OPTED_OUT, Reason.SUPPRESSED)
    assert await shop.balance() == 998
    await shop.conserved()


async def test_a_provider_that_reports_an_opt_out_suppresses_the_number() -> None:
    stopped = Refused(reason=Reason.OPTED_OUT, provider_code="131050", opted_out=True)
    shop = await Shop(provider=MemoryChannel(script=in_turn(stopped))).open(2)
    await enqueued(shop)
    await shop.send_all()
    async with shop.work(shop.tenant) as w:
        person = await w.contacts.by_phone("+919800000001")
        assert person is not None
        assert person.consent is Consent.OPTED_OUT
        assert await w.contacts.suppressed(["+919800000001"]) == {"+919800000001"}


async def test_quiet_hours_hold_every_row_with_its_reason_and_send_in_the_morning() -> None:
    shop = await Shop(timezone="Asia/Kolkata").open(5)
    await shop.put(quietHoursStart="09:00", quietHoursEnd="18:00")  # now it is 14:30 there
    run = await enqueued(shop)
    await shop.dispatch()
    assert not shop.provider.asked
    assert {row.reason for row in await shop.rows(run)} == {Reason.QUIET_HOURS}
    await shop.wait(hours=3, minutes=31)
    await shop.send_all()
    assert set(await shop.states(run)) == {State.ACCEPTED}


async def test_the_frequency_cap_holds_the_second_campaign_until_the_window_has_passed() -> None:
    shop = await Shop().open(2)
    await shop.put(frequencyCap="1", frequencyCapHours="24")
    await enqueued(shop)
    await shop.send_all()
    second = (await shop.campaigns.enqueue(shop.tenant, (await shop.campaign(name="D")).id)).run_id
    await shop.wait(hours=1)
    await shop.dispatch()
    assert len(shop.provider.asked) == 2
    assert {row.reason for row in await shop.rows(second)} == {Reason.FREQUENCY_CAP}
    await shop.wait(hours=23, minutes=1)
    await shop.send_all()
    assert set(await shop.states(second)) == {State.ACCEPTED}


async def test_a_receipt_that_overtakes_the_answer_keeps_its_state_and_learns_the_provider_id() -> None:
    shop = await Shop().open(1)

    class Fast(MemoryChannel):
        async def send(self, batch: Any) -> Any:
            answers = await super().send(batch)
            await shop.receipts.apply(self.receipts(Fact.DELIVERED, at=shop.clock.now()))
            return answers

    shop.provider = shop.channels.provider = Fast()
    run = await enqueued(shop)
    await shop.send_all()
    row = await shop.row(run)
    assert (row.state, row.provider_message_id, row.credits) == (State.DELIVERED, "memory-1", 1)
    assert (await shop.reload(await shop.campaigns.get(shop.tenant, row.campaign_id))).status is CampaignStatus.SENT  # type: ignore[arg-type]


async def test_a_row_told_to_wait_after_its_run_was_cancelled_is_cancelled_with_its_credit_back() -> None:
    shop = await Shop(provider=MemoryChannel(concurrency=1)).open(3)
    campaign = await shop.campaign()

    class Slow(MemoryChannel):
        async def send(self, batch: Any) -> Any:
            self.asked += batch
            await shop.campaigns.cancel(shop.tenant, campaign.id)
            return [BUSY]

    shop.channels.provider = Slow(concurrency=1)
    run = (await shop.campaigns.enqueue(shop.tenant, campaign.id)).run_id
    await shop.send_all()
    assert await shop.states(run) == [State.CANCELLED] * 3
    assert await shop.balance() == 1000
    await shop.conserved()


# --- crashes ----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """kill -9: nothing of ours runs afterwards."""


class CutOff(Exception):
    """The database's answer was lost, or it refused: ours to survive."""


async def _story(shop: Shop) -> None:
    """Enqueue, send with every kind of answer, receive, cancel a second one."""
    first = await shop.campaign()
    await shop.campaigns.enqueue(shop.tenant, first.id)
    await shop.send_all()
    await shop.receipts.apply(shop.receipts_for(Fact.SENT))
    second = await shop.campaign(name="second")
    await shop.campaigns.enqueue(shop.tenant, second.id)
    await shop.dispatcher().run_once(stopping=lambda: len(shop.provider.asked) > 5)
    await shop.campaigns.cancel(shop.tenant, second.id)
    await shop.receipts.apply(shop.receipts_for(Fact.DELIVERED))


def _script(message: Outbound) -> Any:
    return {2: REFUSED, 3: Ambiguous()}.get(message.reference.seq)


class _Bomb:
    """Goes off at the n-th moment between two effects."""

    def __init__(self, at: int, error: type[BaseException]) -> None:
        self.at, self.error, self.seen, self.armed = at, error, 0, False
        self.where = ""

    async def __call__(self, moment: str) -> None:
        if self.armed:
            self.seen += 1
            if self.seen == self.at:
                self.where = moment
                raise self.error(moment)


def _shop(bomb: _Bomb) -> Shop:
    return Shop(
        checkpoint=bomb, provider=MemoryChannel(concurrency=2, script=_script, checkpoint=bomb), credits=20, chunk=3
    )


async def _recover(shop: Shop) -> None:
    """What other workers do afterwards: sweeps, relays, sending, and receipts that come in the end."""
    for _ in range(4):
        await shop.wait(seconds=61)
        await shop.sweep()
        await shop.send_all()
    await shop.conserved()
    await shop.receipts.apply(shop.receipts_for(Fact.DELIVERED))
    await shop.wait(days=1, seconds=61)
    await shop.sweep()
    await shop.send_all()


def _moments() -> int:
    bomb = _Bomb(-1, Killed)
    shop = _shop(bomb)
    drive(shop.open(5))
    bomb.armed = True
    drive(_story(shop))
    return bomb.seen


@pytest.mark.parametrize("error", [Killed, CutOff])
def test_whatever_breaks_at_any_moment_nothing_is_sent_twice_or_lost_and_credits_add_up(
    error: type[BaseException],
) -> None:
    total = _moments()
    assert total > 200
    for at in range(1, total + 1):
        bomb = _Bomb(at, error)
        shop = _shop(bomb)
        drive(shop.open(5))
        bomb.armed = True
        with contextlib.suppress(Killed, CutOff):
            drive(_story(shop))
        bomb.armed = False
        drive(_recover(shop))
        drive(_judge(shop, bomb))


async def _judge(shop: Shop, bomb: _Bomb) -> None:
    accepted = Counter(message.reference for _, message in shop.provider.accepted)
    asked = Counter(message.reference for message in shop.provider.asked)
    assert all(n == 1 for n in accepted.values()), bomb.where
    assert all(n == 1 for n in asked.values()), bomb.where
    await shop.conserved()
    async with shop.work(shop.tenant) as w:
        campaigns = [c for name in ("C", "second") if (c := await w.campaigns.by_name(name)) is not None]
        for campaign in campaigns:
            for run in await w.ledger.runs(campaign.id):
                rows = await w.ledger.messages(run.id)
                assert not [r for r in rows if r.state in (State.QUEUED, State.SENDING, State.UNKNOWN)], bomb.where
                for row in rows:
                    assert (row.id in accepted) == (row.state is State.DELIVERED), bomb.where
            assert campaign.status in (CampaignStatus.DRAFT, CampaignStatus.SENT, CampaignStatus.CANCELLED), bomb.where


def test_the_accepted_of_a_killed_worker_are_known_again_when_the_receipts_come() -> None:
    """A planted check on the test above: it does reach the moment between the provider's yes and ours."""
    hits = 0
    for at in range(1, _moments() + 1):
        bomb = _Bomb(at, Killed)
        shop = _shop(bomb)
        drive(shop.open(5))
        bomb.armed = True
        with pytest.raises(Killed):
            drive(_story(shop))
        hits += bomb.where == "after channel.send"
    assert hits >= 3
