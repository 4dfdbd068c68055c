"""The ledger: freeze, runs, waves, cancel, reading."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from tests.contract.world import (
    LONG,
    OVER,
    TODAY,
    World,
    accepted,
    answers,
    change,
    phone,
    sending,
    together,
)

from callboard.contacts.model import Consent, Suppression
from callboard.ids import CampaignId, MessageId, RunId
from callboard.messages.model import (
    Content,
    Priority,
    Purpose,
    Reason,
    RunState,
    State,
    WhatsAppTemplate,
)
from callboard.segments.model import EVERYBODY, AnyOf
from callboard.tenants.model import Channel, FrequencyCap
from callboard.values import Phone

# --- freeze -------------------------------------------------------------------------------------------------------


async def test_freezing_makes_one_queued_row_for_each_recipient(world: World) -> None:
    tenant = await world.tenant()
    people = await world.people(tenant, 7)
    run = world.a_run(tenant)
    at = world.now()
    async with world.work(tenant) as w:
        await w.ledger.open_run(run)
        assert await w.ledger.freeze(run.id, EVERYBODY, today=TODAY, now=at, chunk=3) == 7
    async with world.work(tenant) as w:
        assert await w.ledger.run(run.id) == attrs.evolve(run, recipients=7)
        tally = await w.ledger.tally([run.id])
    assert tally.by_state == {State.QUEUED: 7}
    assert tally.by_reason == {}
    assert (tally.recipients, tally.accepted) == (7, 0)
    rows = await world.rows(tenant, run.id)
    assert [row.id for row in rows] == [MessageId(run.id, seq) for seq in range(1, 8)]
    assert {(row.contact_id, row.phone) for row in rows} == {(p.id, p.phone and p.phone.e164) for p in people}
    for row in rows:
        assert (row.state, row.reason, row.attempt, row.credits) == (State.QUEUED, None, 0, 1)
        assert (row.campaign_id, row.channel) == (run.campaign_id, Channel.SMS)
        assert (row.next_at, row.sending_at, row.accepted_at, row.failed_at) == (None, None, None, None)
        assert (row.provider_code, row.provider_message_id) == (None, None)
        assert abs(row.queued_at - at) < timedelta(seconds=5)
    chunks = [await world.must_claim() for _ in range(3)]
    assert [(c.number, c.first, c.last) for c in chunks] == [(1, 1, 3), (2, 4, 6), (3, 7, 7)]
    assert await world.claim() is None


async def test_only_those_who_may_be_written_to_are_frozen(world: World) -> None:
    tenant = await world.tenant()
    good = await world.contact(tenant, 1)
    await world.contact(tenant, None)
    await world.contact(tenant, 2, consent=Consent.OPTED_OUT)
    await world.contact(tenant, 3, consent=Consent.UNKNOWN)
    await world.contact(tenant, 4)
    gone = await world.contact(tenant, 5)
    invalid = await world.contact(tenant, 6, phone=Phone(phone(6), valid=False))
    async with world.work(tenant) as w:
        await w.contacts.suppress(Suppression(phone=phone(4), reason="x", at=world.now()))
        await w.contacts.save(attrs.evolve(gone, deleted_at=world.now()))
        assert await w.ledger.eligible(EVERYBODY, today=TODAY) == 2
    run = await world.run(tenant)
    assert {row.contact_id for row in await world.rows(tenant, run.id)} == {good.id, invalid.id}


async def test_an_empty_audience_freezes_nothing(world: World) -> None:
    tenant = await world.tenant()
    await world.people(tenant, 2)
    run = await world.run(tenant, audience=AnyOf())
    assert run.recipients == 0
    assert await world.rows(tenant, run.id) == []
    assert await world.claim() is None


async def test_freezing_many_recipients_is_gapless(world: World) -> None:
    tenant = await world.tenant()
    await world.people(tenant, 120)
    run = await world.run(tenant, chunk=50)
    rows = await world.rows(tenant, run.id)
    assert [row.id.seq for row in rows] == list(range(1, 121))
    assert len({row.phone for row in rows}) == 120


async def test_the_failed_are_frozen_again_if_they_still_may_be(world: World) -> None:
    tenant = await world.tenant()
    people = await world.people(tenant, 5)
    first = await world.run(tenant)
    chunk = await world.must_claim()
    await world.mark(chunk, *(sending(seq) for seq in range(1, 6)))
    await world.settle(
        chunk,
        accepted(1),
        *(change(seq, State.FAILED, Reason.REFUSED, refund=True) for seq in (2, 3, 4)),
        change(5, State.UNKNOWN, Reason.NO_ANSWER),
    )
    by_phone = {p.phone.e164: p for p in people if p.phone}
    failed = [by_phone[(await world.row(chunk, seq)).phone] for seq in (2, 3, 4)]
    async with world.work(tenant) as w:
        assert await w.ledger.eligible_failed(first.id) == 3
        await w.contacts.save(attrs.evolve(failed[1], consent=Consent.OPTED_OUT))
        assert failed[2].phone is not None
        await w.contacts.suppress(Suppression(phone=failed[2].phone.e164, reason="x", at=world.now()))
        assert await w.ledger.eligible_failed(first.id) == 1
        again = world.a_run(tenant, campaign_id=first.campaign_id, number=2, retry_of=first.id)
        await w.ledger.open_run(again)
        assert await w.ledger.freeze_failed(again.id, of=first.id, now=world.now(), chunk=500) == 1
        assert await w.ledger.run(again.id) == attrs.evolve(again, recipients=1)
    rows = await world.rows(tenant, again.id)
    assert [(row.id.seq, row.contact_id, row.state, row.attempt, row.credits) for row in rows] == [
        (1, failed[0].id, State.QUEUED, 0, 1)
    ]
    assert await world.states(tenant, first.id) == [State.ACCEPTED, *[State.FAILED] * 3, State.UNKNOWN]


# --- runs ---------------------------------------------------------------------------------------------------------


async def test_a_run_is_stored_whole_and_listed_by_number(world: World) -> None:
    tenant = await world.tenant()
    campaign = CampaignId(world.ids.new())
    full = world.a_run(
        tenant,
        campaign_id=campaign,
        number=2,
        purpose=Purpose.TRANSACTIONAL,
        priority=Priority.URGENT,
        retry_of=RunId(world.ids.new()),
        content=Content(
            channel=Channel.WHATSAPP,
            text="a\nb {{x}}",
            values={"discount": "50 %", "ü": ""},
            unsubscribe_base=None,
            template=WhatsAppTemplate(name="n", language="de", body=("{{firstName}}",), button_suffix="x"),
        ),
    )
    first = world.a_run(tenant, campaign_id=campaign, number=1)
    async with world.work(tenant) as w:
        await w.ledger.open_run(full)
        await w.ledger.open_run(first)
        await w.ledger.open_run(world.a_run(tenant))
        await w.ledger.open_run(world.a_run(tenant, campaign_id=None))
    async with world.work(tenant) as w:
        assert await w.ledger.run(full.id) == full
        assert await w.ledger.runs(campaign) == [first, full]
        assert await w.ledger.run(RunId(world.ids.new())) is None
        assert await w.ledger.runs(CampaignId(world.ids.new())) == []


async def test_one_round_of_a_campaign_is_opened_once(world: World) -> None:
    tenant = await world.tenant()
    campaign = CampaignId(world.ids.new())
    async with world.work(tenant) as w:
        await w.ledger.open_run(world.a_run(tenant, campaign_id=campaign, number=1))
    with pytest.raises(Exception):  # noqa: B017 - which one is not promised; that it fails is
        async with world.work(tenant) as w:
            await w.ledger.open_run(world.a_run(tenant, campaign_id=campaign, number=1))


async def test_moving_a_run_compares_its_state(world: World) -> None:
    tenant = await world.tenant()
    run = await world.run(tenant, people=1)
    async with world.work(tenant) as w:
        assert not await w.ledger.move_run(run.id, to=RunState.DONE, expected=[RunState.PAUSED], now=world.now())
        assert await w.ledger.move_run(run.id, to=RunState.OPEN, expected=[RunState.OPEN], now=world.now())
        assert await w.ledger.move_run(run.id, to=RunState.PAUSED, expected=[RunState.OPEN], now=world.now())
        paused = await w.ledger.run(run.id)
        assert paused is not None
        assert (paused.state, paused.finished_at) == (RunState.PAUSED, None)
        both = [RunState.OPEN, RunState.PAUSED]
        assert await w.ledger.move_run(run.id, to=RunState.CANCELLED, expected=both, now=world.now())
        cancelled = await w.ledger.run(run.id)
        assert cancelled is not None
        assert cancelled.state is RunState.CANCELLED
        assert cancelled.finished_at is not None
        assert not await w.ledger.move_run(RunId(world.ids.new()), to=RunState.DONE, expected=both, now=world.now())


async def test_one_of_many_finishes_a_run(world: World) -> None:
    tenant = await world.tenant()
    run = await world.run(tenant, people=1)

    async def finish() -> bool:
        async with world.work(tenant) as w:
            return await w.ledger.move_run(run.id, to=RunState.DONE, expected=[RunState.OPEN], now=world.now())

    assert sorted(answers(await together(*(finish() for _ in range(6))))) == [False] * 5 + [True]


async def test_cancelling_takes_exactly_the_queued_rows(world: World) -> None:
    tenant = await world.tenant()
    run = await world.run(tenant, people=5)
    chunk = await world.must_claim()
    await world.mark(chunk, sending(1), sending(2), change(3, State.SKIPPED, Reason.OPTED_OUT, attempt=0, refund=True))
    await world.settle(chunk, accepted(2))
    async with world.work(tenant) as w:
        assert await w.ledger.cancel_queued(run.id, now=world.now()) == 2
        assert await w.ledger.cancel_queued(run.id, now=world.now()) == 0
        tally = await w.ledger.tally([run.id])
    assert await world.states(tenant, run.id) == [
        State.SENDING,
        State.ACCEPTED,
        State.SKIPPED,
        State.CANCELLED,
        State.CANCELLED,
    ]
    assert [row.credits for row in await world.rows(tenant, run.id)] == [1, 1, 0, 0, 0]
    assert (await world.row(chunk, 4)).reason is Reason.CAMPAIGN_CANCELLED
    assert tally.by_reason == {"opted_out": 1, "campaign_cancelled": 2}
    assert await world.candidates(chunk) == []


# --- candidates ---------------------------------------------------------------------------------------------------


async def test_candidates_are_the_queued_rows_of_the_chunk_by_seq(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=5, chunk=4)
    chunk = await world.must_claim()
    assert [c.seq for c in await world.candidates(chunk)] == [1, 2, 3, 4]
    assert [c.seq for c in await world.candidates(chunk, limit=2)] == [1, 2]
    await world.mark(chunk, sending(1), change(2, State.SKIPPED, Reason.OPTED_OUT, attempt=0))
    assert [c.seq for c in await world.candidates(chunk)] == [3, 4]
    one = (await world.candidates(chunk))[0]
    row = await world.row(chunk, 3)
    assert (one.contact_id, one.phone, one.attempt, one.queued_at) == (row.contact_id, row.phone, 0, row.queued_at)
    assert one.first_name is not None
    assert one.first_name.startswith("P")
    assert (one.last_name, one.consent, one.suppressed) == (None, Consent.OPTED_IN, False)
    assert (one.recent, one.oldest_recent) == (0, None)


async def test_candidates_tell_what_their_contacts_say_now(world: World) -> None:
    tenant = await world.tenant()
    people = {p.id: p for p in await world.people(tenant, 4)}
    await world.run(tenant)
    chunk = await world.must_claim()
    before = await world.candidates(chunk)
    out, gone, moved = (people[c.contact_id] for c in before[1:] if c.contact_id)
    async with world.work(tenant) as w:
        await w.contacts.suppress(Suppression(phone=before[0].phone, reason="x", at=world.now()))
        await w.contacts.save(attrs.evolve(out, consent=Consent.OPTED_OUT))
        await w.contacts.save(attrs.evolve(gone, deleted_at=world.now()))
        await w.contacts.save(attrs.evolve(moved, first_name="New", phone=Phone(phone(77))))
    after = await world.candidates(chunk)
    assert [(c.consent, c.suppressed) for c in after] == [
        (Consent.OPTED_IN, True),
        (Consent.OPTED_OUT, False),
        (None, False),
        (Consent.OPTED_IN, False),
    ]
    # what the row froze stays as it was
    assert [(c.phone, c.first_name) for c in after] == [(c.phone, c.first_name) for c in before]


async def test_candidates_wait_until_they_are_due(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=2)
    chunk = await world.must_claim()
    later = world.now() + timedelta(hours=2)
    await world.mark(chunk, change(1, State.QUEUED, Reason.QUIET_HOURS, attempt=0, next_at=later))
    assert [c.seq for c in await world.candidates(chunk)] == [2]
    async with world.work(tenant) as w:
        found = await w.ledger.candidates(chunk, limit=9, now=later + timedelta(seconds=1), cap=None)
    assert [c.seq for c in found] == [1, 2]
    held = await world.row(chunk, 1)
    assert (held.state, held.reason, held.attempt, held.next_at) == (State.QUEUED, Reason.QUIET_HOURS, 0, later)


async def test_candidates_know_how_often_their_phone_was_written_to(world: World) -> None:
    tenant = await world.tenant()
    await world.people(tenant, 2)
    cap = FrequencyCap(limit=3, window=timedelta(days=1))
    for n, remember in ((1, True), (2, True), (3, False)):
        await world.run(tenant, number=n)
        chunk = await world.must_claim()
        await world.mark(chunk, sending(1))
        await world.settle(chunk, accepted(1, f"id-{n}"), remember=remember)
    first = (await world.row(chunk, 1)).phone
    await world.run(tenant, number=4, priority=Priority.URGENT)
    chunk = await world.must_claim()
    now = world.now()
    async with world.work(tenant) as w:
        found = {c.phone: c for c in await w.ledger.candidates(chunk, limit=9, now=now, cap=cap)}
        later = await w.ledger.candidates(chunk, limit=9, now=now + timedelta(days=2), cap=cap)
        uncapped = await w.ledger.candidates(chunk, limit=9, now=now, cap=None)
    assert sorted((c.recent, c.phone == first) for c in found.values()) == [(0, False), (2, True)]
    oldest = found[first].oldest_recent
    assert oldest is not None
    assert timedelta(0) <= now - oldest < timedelta(minutes=5)
    assert [c.recent for c in later] == [0, 0]
    assert [c.recent for c in uncapped] == [0, 0]


# --- mark ---------------------------------------------------------------------------------------------------------


async def test_marking_moves_queued_rows_only(world: World) -> None:
    tenant = await world.tenant()
    run = await world.run(tenant, people=3)
    chunk = await world.must_claim()
    skip = change(2, State.SKIPPED, Reason.SUPPRESSED, attempt=0, refund=True)
    assert await world.mark(chunk, sending(1), skip) == {1, 2}
    assert await world.mark(chunk, sending(1), sending(2), sending(99)) == frozenset()
    assert await world.mark(chunk) == frozenset()
    sent, skipped, left = await world.rows(tenant, run.id)
    assert (sent.state, sent.reason, sent.attempt, sent.credits) == (State.SENDING, Reason.CLEARED, 1, 1)
    assert sent.sending_at is not None
    assert (skipped.state, skipped.reason, skipped.attempt, skipped.credits) == (
        State.SKIPPED,
        Reason.SUPPRESSED,
        0,
        0,
    )
    assert (left.state, left.attempt, left.credits) == (State.QUEUED, 0, 1)


async def test_one_of_many_marks_a_row(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=3)
    chunk = await world.must_claim()
    got = answers(await together(*(world.mark(chunk, sending(1), sending(2), sending(3)) for _ in range(5))))
    assert sorted(seq for seqs in got for seq in seqs) == [1, 2, 3]


async def test_nothing_is_marked_after_a_cancel(world: World) -> None:
    tenant = await world.tenant()
    run = await world.run(tenant, people=2)
    chunk = await world.must_claim()
    async with world.work(tenant) as w:
        await w.ledger.move_run(run.id, to=RunState.CANCELLED, expected=[RunState.OPEN], now=world.now())
        assert await w.ledger.cancel_queued(run.id, now=world.now()) == 2
    assert await world.mark(chunk, sending(1), sending(2)) == frozenset()


async def test_a_cancel_and_a_wave_share_the_rows_between_them(world: World) -> None:
    tenant = await world.tenant()
    run = await world.run(tenant, people=10)
    chunk = await world.must_claim()

    async def cancel() -> int:
        async with world.work(tenant) as w:
            return await w.ledger.cancel_queued(run.id, now=world.now())

    async def wave() -> int:
        return len(await world.mark(chunk, *(sending(seq) for seq in range(1, 6))))

    cancelled, marked = answers(await together(cancel(), wave()))
    states = await world.states(tenant, run.id)
    assert cancelled == states.count(State.CANCELLED)
    assert marked == states.count(State.SENDING)
    assert cancelled + marked == 10
    async with world.work(tenant) as w:
        assert (await w.ledger.tally([run.id])).by_state == {s: states.count(s) for s in set(states)}


# --- settle -------------------------------------------------------------------------------------------------------


async def test_every_kind_of_answer_lands_on_its_own_row(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=5)
    later = world.now() + timedelta(minutes=5)
    done = await world.settle(
        chunk,
        accepted(1, "wamid.1"),
        change(2, State.FAILED, Reason.NOT_ON_CHANNEL, provider_code="131026", refund=True),
        change(3, State.QUEUED, Reason.PROVIDER_BUSY, next_at=later, provider_code="429"),
        change(4, State.UNKNOWN, Reason.NO_ANSWER),
        change(5, State.QUEUED, Reason.SENDER_PAUSED, next_at=later, burnt=False),
    )
    assert done == {1, 2, 3, 4, 5}
    one, two, three, four, five = await world.rows(tenant, chunk.run_id)
    assert (one.state, one.reason, one.provider_message_id, one.credits) == (
        State.ACCEPTED,
        Reason.CLEARED,
        "wamid.1",
        1,
    )
    assert one.accepted_at is not None
    assert (two.state, two.reason, two.provider_code, two.credits) == (
        State.FAILED,
        Reason.NOT_ON_CHANNEL,
        "131026",
        0,
    )
    assert two.failed_at is not None
    assert (three.state, three.reason, three.attempt, three.next_at, three.credits) == (
        State.QUEUED,
        Reason.PROVIDER_BUSY,
        1,
        later,
        1,
    )
    assert (four.state, four.reason, four.credits) == (State.UNKNOWN, Reason.NO_ANSWER, 1)
    assert (five.state, five.attempt, five.next_at) == (State.QUEUED, 0, later)
    async with world.work(tenant) as w:
        tally = await w.ledger.tally([chunk.run_id])
    assert tally.by_state == {State.ACCEPTED: 1, State.FAILED: 1, State.QUEUED: 2, State.UNKNOWN: 1}
    assert tally.by_reason == {"not_on_channel": 1, "provider_busy": 1, "no_answer": 1, "sender_paused": 1}
    assert (tally.recipients, tally.accepted) == (5, 1)


async def test_not_now_after_a_cancel_becomes_cancelled(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1)
    async with world.work(tenant) as w:
        await w.ledger.move_run(chunk.run_id, to=RunState.CANCELLED, expected=[RunState.OPEN], now=world.now())
    assert await world.settle(chunk, change(1, State.CANCELLED, Reason.CAMPAIGN_CANCELLED, refund=True)) == {1}
    row = await world.row(chunk)
    assert (row.state, row.reason, row.credits) == (State.CANCELLED, Reason.CAMPAIGN_CANCELLED, 0)


async def test_an_answer_of_another_attempt_is_dropped(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1)
    await world.settle(chunk, change(1, State.QUEUED, Reason.PROVIDER_BUSY))
    assert await world.mark(chunk, sending(1, attempt=2)) == {1}
    assert await world.settle(chunk, change(1, State.FAILED, Reason.REFUSED, refund=True)) == frozenset()
    row = await world.row(chunk)
    assert (row.state, row.attempt, row.credits) == (State.SENDING, 2, 1)
    assert await world.settle(chunk, accepted(1, attempt=2)) == {1}


async def test_an_answer_is_taken_once(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1)
    refused = change(1, State.FAILED, Reason.REFUSED, refund=True)
    got = answers(await together(*(world.settle(chunk, refused) for _ in range(4))))
    assert sorted(len(g) for g in got) == [0, 0, 0, 1]
    assert await world.settle(chunk) == frozenset()


async def test_a_late_answer_of_a_lost_worker_still_counts(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=2, lease=OVER)
    assert await world.expire() == 1
    assert await world.states(tenant, chunk.run_id) == [State.UNKNOWN, State.UNKNOWN]
    refused = change(2, State.FAILED, Reason.REFUSED, refund=True)
    assert await world.settle(chunk, accepted(1, "wamid"), refused) == {1, 2}
    one, two = await world.rows(tenant, chunk.run_id)
    assert (one.state, one.provider_message_id) == (State.ACCEPTED, "wamid")
    assert (two.state, two.credits) == (State.FAILED, 0)


async def test_a_late_try_again_never_strands_a_row(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1, lease=OVER)
    await world.expire()
    second = await world.must_claim()
    assert await world.release(second)  # nothing is left to attempt: the run has drained
    assert await world.settle(chunk, change(1, State.QUEUED, Reason.PROVIDER_BUSY)) == frozenset()
    assert (await world.row(chunk)).state is State.UNKNOWN


# --- leases -------------------------------------------------------------------------------------------------------


async def test_a_lease_is_renewed_by_its_holder_only(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=1)
    first = await world.must_claim(lease=OVER)
    await world.expire()
    second = await world.must_claim()
    async with world.work(tenant) as w:
        assert not await w.ledger.renew(first, lease=LONG)
        assert await w.ledger.renew(second, lease=LONG)
    assert await world.expire() == 0


async def test_a_renewed_lease_lasts(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=1)
    chunk = await world.must_claim(lease=timedelta(seconds=20))
    async with world.work(tenant) as w:
        assert await w.ledger.renew(chunk, lease=timedelta(milliseconds=50))
    await world.wait(0.1)
    assert await world.expire() == 1


async def test_a_lease_is_not_renewed_once_the_run_is_not_open(world: World) -> None:
    tenant = await world.tenant()
    run = await world.run(tenant, people=1)
    chunk = await world.must_claim()
    async with world.work(tenant) as w:
        await w.ledger.move_run(run.id, to=RunState.PAUSED, expected=[RunState.OPEN], now=world.now())
        assert not await w.ledger.renew(chunk, lease=LONG)
    assert not await world.release(chunk)
    async with world.work(tenant) as w:
        await w.ledger.move_run(run.id, to=RunState.OPEN, expected=[RunState.PAUSED], now=world.now())
    again = await world.must_claim()
    assert again.claim > chunk.claim


async def test_the_last_release_drains_the_run(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=3, chunk=2)
    first, second = await world.must_claim(), await world.must_claim()
    await world.mark(first, sending(1), sending(2))
    await world.settle(first, accepted(1), change(2, State.UNKNOWN, Reason.NO_ANSWER))
    assert not await world.release(first)
    await world.mark(second, change(3, State.SKIPPED, Reason.OPTED_OUT, attempt=0, refund=True))
    assert await world.release(second)
    assert not await world.release(second)
    assert await world.claim() is None


async def test_many_releases_at_once_drain_the_run_exactly_once(world: World) -> None:
    tenant = await world.tenant()
    run = await world.run(tenant, people=8, chunk=1)
    chunks = [await world.must_claim() for _ in range(8)]
    for chunk in chunks:
        await world.mark(chunk, sending(chunk.first))
        await world.settle(chunk, accepted(chunk.first))
    drained = answers(await together(*(world.release(chunk) for chunk in chunks)))
    assert sorted(drained) == [False] * 7 + [True]
    async with world.system() as s:
        assert await s.queue.drained(limit=9) == [(tenant, run.id)]


async def test_a_released_chunk_opens_when_its_first_row_is_due(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=2, chunk=1)
    far, near = await world.must_claim(), await world.must_claim()
    for chunk, wait in ((far, timedelta(hours=2)), (near, timedelta(seconds=0.1))):
        held = change(chunk.first, State.QUEUED, Reason.QUIET_HOURS, attempt=0, next_at=world.now() + wait)
        assert await world.mark(chunk, held) == {chunk.first}
        assert not await world.release(chunk)
    await world.wait(0.2)
    again = await world.must_claim()
    assert (again.number, again.claim) == (near.number, near.claim + 1)
    assert [c.seq for c in await world.candidates(again)] == [near.first]
    assert await world.claim() is None


async def test_a_chunk_opens_with_the_earliest_of_its_rows(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=2)
    chunk = await world.must_claim()
    now = world.now()
    waits = {1: now + timedelta(hours=2), 2: now + timedelta(seconds=0.1)}
    await world.mark(
        chunk, *(change(seq, State.QUEUED, Reason.QUIET_HOURS, attempt=0, next_at=at) for seq, at in waits.items())
    )
    assert not await world.release(chunk)
    await world.wait(0.2)
    assert [c.seq for c in await world.candidates(await world.must_claim())] == [2]


async def test_a_chunk_is_not_opened_before_the_moment_asked_for(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=2, chunk=1)
    far, near = await world.must_claim(), await world.must_claim()
    assert not await world.release(far, not_before=world.now() + timedelta(hours=1))
    assert not await world.release(near, not_before=world.now() + timedelta(seconds=0.1))
    await world.wait(0.2)
    assert (await world.must_claim()).number == near.number
    assert await world.claim() is None


async def test_a_released_chunk_with_work_is_free_at_once(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=1)
    assert not await world.release(await world.must_claim())
    assert await world.claim() is not None


async def test_a_lost_chunk_cannot_be_released(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=1)
    lost = await world.must_claim(lease=OVER)
    await world.expire()
    held = await world.must_claim()
    assert not await world.release(lost)
    assert await world.claim() is None
    async with world.work(tenant) as w:
        assert await w.ledger.renew(held, lease=LONG)


# --- reading ------------------------------------------------------------------------------------------------------


async def test_rows_are_read_in_pages_and_by_filter(world: World) -> None:
    tenant = await world.tenant()
    run = await world.run(tenant, people=6)
    chunk = await world.must_claim()
    await world.mark(chunk, *(sending(seq) for seq in (1, 3, 5)))
    await world.settle(chunk, accepted(1), change(3, State.FAILED, Reason.REFUSED, refund=True))
    rows = await world.rows(tenant, run.id)
    async with world.work(tenant) as w:
        assert await w.ledger.messages(run.id, limit=2) == rows[:2]
        assert await w.ledger.messages(run.id, after=2, limit=2) == rows[2:4]
        assert await w.ledger.messages(run.id, after=6) == []
        assert [r.id.seq for r in await w.ledger.messages(run.id, states=[State.ACCEPTED, State.FAILED])] == [1, 3]
        assert [r.id.seq for r in await w.ledger.messages(run.id, states=["queued"], after=2, limit=1)] == [4]
        assert await w.ledger.messages(run.id, contact=rows[4].contact_id) == [rows[4]]
        assert await w.ledger.message(rows[2].id) == rows[2]
        assert await w.ledger.message(MessageId(run.id, 7)) is None
        assert await w.ledger.message(MessageId(RunId(world.ids.new()), 1)) is None


async def test_a_tally_adds_several_runs(world: World) -> None:
    tenant = await world.tenant()
    await world.people(tenant, 3)
    one, two = await world.run(tenant), await world.run(tenant)
    chunk = await world.must_claim()
    await world.mark(chunk, sending(1))
    async with world.work(tenant) as w:
        tally = await w.ledger.tally([one.id, two.id, RunId(world.ids.new())])
        nothing = await w.ledger.tally([])
    assert {s: n for s, n in tally.by_state.items() if n} == {State.QUEUED: 5, State.SENDING: 1}
    assert nothing.recipients == 0
