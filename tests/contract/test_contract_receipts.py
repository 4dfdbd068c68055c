"""Receipts: a lattice in any order with duplicates, parked until their message is known, limited to who may speak."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.world import OVER, World, accepted, answers, change, sending, together

from callboard.ids import MessageId, RunId
from callboard.messages.model import Fact, Reason, Receipt, State
from callboard.messages.ports import Applied, Refundable
from callboard.messages.rules import advance


def told(world: World, provider_id: str, fact: Fact, message: MessageId | None = None, **fields: Any) -> Receipt:
    """A receipt."""
    given: dict[str, Any] = {"provider": "sms", "at": world.now()}
    return Receipt(provider_message_id=provider_id, message_id=message, fact=fact, **(given | fields))


async def apply(world: World, *receipts: Receipt) -> Applied:
    """One batch in its own transaction."""
    async with world.system() as s:
        return await s.receipts.apply(receipts, now=world.now())


async def test_a_receipt_is_found_by_our_id_or_by_the_providers(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=2)
    await world.settle(chunk, accepted(1, "a"), accepted(2, "b"))
    at = world.now() + timedelta(seconds=3)
    done = await apply(
        world,
        told(world, "a", Fact.DELIVERED, MessageId(chunk.run_id, 1), at=at),
        told(world, "b", Fact.SENT, at=at),
    )
    assert (done.changed, done.duplicate, done.parked) == (2, 0, 0)
    assert (done.writeoffs, done.opted_out) == ((), ())
    one, two = await world.rows(tenant, chunk.run_id)
    assert (one.state, one.delivered_at, one.sent_at) == (State.DELIVERED, at, None)
    assert (two.state, two.sent_at, two.delivered_at) == (State.SENT, at, None)
    async with world.work(tenant) as w:
        tally = await w.ledger.tally([chunk.run_id])
    assert {s: n for s, n in tally.by_state.items() if n} == {State.DELIVERED: 1, State.SENT: 1}
    assert tally.accepted == 2


async def test_status_only_moves_forward_and_every_time_is_kept(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1)
    await world.settle(chunk, accepted(1, "a"))
    base = world.now()
    times = {fact: base + timedelta(seconds=n) for n, fact in enumerate((Fact.READ, Fact.SENT, Fact.DELIVERED))}
    for fact, at in times.items():
        await apply(world, told(world, "a", fact, at=at))
    row = await world.row(chunk)
    assert row.state is State.READ
    assert (row.read_at, row.sent_at, row.delivered_at) == tuple(times.values())


async def test_a_failure_after_acceptance_keeps_the_credit(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1)
    await world.settle(chunk, accepted(1, "a"))
    at = world.now()
    failed = told(world, "a", Fact.FAILED, at=at, reason=Reason.UNDELIVERED, provider_code="30003")
    done = await apply(world, failed)
    assert (done.changed, done.writeoffs) == (1, ())
    row = await world.row(chunk)
    assert (row.state, row.reason, row.provider_code, row.failed_at, row.credits) == (
        State.FAILED,
        Reason.UNDELIVERED,
        "30003",
        at,
        1,
    )
    async with world.work(tenant) as w:
        assert (await w.ledger.tally([chunk.run_id])).by_reason == {"undelivered": 1}
    # delivery proof beats failure; a late "sent" would not
    await apply(world, told(world, "a", Fact.SENT))
    assert (await world.row(chunk)).state is State.FAILED
    await apply(world, told(world, "a", Fact.DELIVERED))
    row = await world.row(chunk)
    assert (row.state, row.reason) == (State.DELIVERED, Reason.CLEARED)
    async with world.work(tenant) as w:
        assert (await w.ledger.tally([chunk.run_id])).by_reason == {}


async def test_duplicates_are_counted_and_change_nothing(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1)
    await world.settle(chunk, accepted(1, "a"))
    first = told(world, "a", Fact.SENT)
    again = told(world, "a", Fact.SENT, at=world.now() + timedelta(minutes=1))
    done = await apply(world, first, again)
    assert (done.changed, done.duplicate, done.parked) == (1, 1, 0)
    done = await apply(world, again)
    assert (done.changed, done.duplicate, done.parked) == (0, 1, 0)
    assert (await world.row(chunk)).sent_at == first.at
    assert await apply(world) == Applied(changed=0, duplicate=0, parked=0)


async def test_one_receipt_told_by_many_at_once_counts_once(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=3)
    await world.settle(chunk, *(accepted(seq, f"a{seq}") for seq in (1, 2, 3)))
    receipts = [told(world, f"a{seq}", Fact.DELIVERED) for seq in (1, 2, 3)]
    done = answers(await together(*(apply(world, *(receipts if n % 2 else receipts[::-1])) for n in range(6))))
    assert sum(d.changed for d in done) == 3
    assert sum(d.duplicate for d in done) == 15
    async with world.work(tenant) as w:
        tally = await w.ledger.tally([chunk.run_id])
    assert {s: n for s, n in tally.by_state.items() if n} == {State.DELIVERED: 3}


async def test_a_receipt_that_overtakes_the_answer_is_kept(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=2)
    await apply(world, told(world, "a", Fact.DELIVERED, MessageId(chunk.run_id, 1)))
    assert (await world.row(chunk)).state is State.DELIVERED
    refused = change(2, State.FAILED, Reason.REFUSED, refund=True)
    assert await world.settle(chunk, accepted(1, "a"), refused) == {2}
    row = await world.row(chunk)
    assert (row.state, row.provider_message_id, row.credits) == (State.DELIVERED, "a", 1)


async def test_a_row_moved_by_a_receipt_learns_the_providers_id(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1)
    await apply(world, told(world, "a", Fact.SENT, MessageId(chunk.run_id, 1)))
    await world.settle(chunk, accepted(1, "a"))
    done = await apply(world, told(world, "a", Fact.READ))
    assert (done.changed, done.parked) == (1, 0)
    row = await world.row(chunk)
    assert (row.state, row.provider_message_id) == (State.READ, "a")
    assert row.accepted_at is not None


async def test_a_receipt_settles_what_nobody_knew(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1, lease=OVER)
    await world.expire()
    done = await apply(world, told(world, "a", Fact.SENT, MessageId(chunk.run_id, 1)))
    assert (done.changed, done.writeoffs) == (1, ())
    row = await world.row(chunk)
    assert (row.state, row.reason, row.credits) == (State.SENT, Reason.CLEARED, 1)
    later = world.now() + timedelta(days=1)
    async with world.system() as s:
        assert await s.queue.give_up(older_than=later, now=later, limit=9) == []


async def test_a_receipt_teaches_the_providers_id_to_a_row_that_has_none(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1, lease=OVER)
    await world.expire()
    await apply(world, told(world, "a", Fact.SENT, MessageId(chunk.run_id, 1)))
    done = await apply(world, told(world, "a", Fact.READ))
    assert (done.changed, done.parked) == (1, 0)
    row = await world.row(chunk)
    assert (row.state, row.provider_message_id) == (State.READ, "a")


async def test_late_proof_after_the_credit_came_back_is_written_off(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=2)
    await world.settle(chunk, *(change(seq, State.UNKNOWN, Reason.NO_ANSWER) for seq in (1, 2)))
    later = world.now() + timedelta(days=1)
    async with world.system() as s:
        assert len(await s.queue.give_up(older_than=later, now=later, limit=9)) == 2
    proof = told(world, "a", Fact.DELIVERED, MessageId(chunk.run_id, 1))
    done = await apply(world, proof)
    assert done.writeoffs == (Refundable(tenant_id=tenant, id=MessageId(chunk.run_id, 1)),)
    assert (await apply(world, proof)).writeoffs == ()
    one, two = await world.rows(tenant, chunk.run_id)
    assert (one.state, one.reason, one.credits) == (State.DELIVERED, Reason.CLEARED, 0)
    assert two.state is State.UNCONFIRMED


async def test_an_opt_out_told_by_the_provider_names_tenant_and_phone(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1)
    await world.settle(chunk, accepted(1, "a"))
    done = await apply(world, told(world, "a", Fact.FAILED, reason=Reason.OPTED_OUT, opted_out=True))
    row = await world.row(chunk)
    assert done.opted_out == ((tenant, row.phone),)


# --- parking ------------------------------------------------------------------------------------------------------


async def test_a_receipt_of_an_unknown_message_waits_for_it(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=2)
    ours = MessageId(RunId(world.ids.new()), 1)
    at = world.now()
    early = told(world, "a", Fact.DELIVERED, at=at, provider_code="x")
    done = await apply(world, early, early, told(world, "b", Fact.SENT, ours))
    assert (done.changed, done.duplicate, done.parked) == (0, 1, 2)
    assert (await apply(world, early)).duplicate == 1
    async with world.system() as s:
        assert await s.receipts.match_parked(now=world.now(), limit=9) == Applied(changed=0, duplicate=0, parked=0)
    await world.settle(chunk, accepted(1, "a"))
    async with world.system() as s:
        done = await s.receipts.match_parked(now=world.now(), limit=9)
    assert (done.changed, done.duplicate) == (1, 0)
    row = await world.row(chunk)
    assert (row.state, row.delivered_at) == (State.DELIVERED, at)
    async with world.system() as s:
        assert (await s.receipts.match_parked(now=world.now(), limit=9)).changed == 0
        assert await s.receipts.drop_parked(older_than=world.now() + timedelta(hours=1)) == 1


async def test_a_parked_failure_keeps_its_reason_and_its_opt_out(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1)
    await apply(
        world, told(world, "a", Fact.FAILED, reason=Reason.MARKETING_LIMIT, provider_code="131049", opted_out=True)
    )
    await world.settle(chunk, accepted(1, "a"))
    async with world.system() as s:
        done = await s.receipts.match_parked(now=world.now(), limit=9)
    row = await world.row(chunk)
    assert (row.state, row.reason, row.provider_code) == (State.FAILED, Reason.MARKETING_LIMIT, "131049")
    assert done.opted_out == ((tenant, row.phone),)


async def test_parked_receipts_are_matched_by_however_many_once(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=4)
    await apply(world, *(told(world, f"a{seq}", Fact.SENT) for seq in range(1, 5)))
    await world.settle(chunk, *(accepted(seq, f"a{seq}") for seq in range(1, 5)))

    async def match(limit: int) -> int:
        async with world.system() as s:
            return (await s.receipts.match_parked(now=world.now(), limit=limit)).changed

    assert await match(1) == 1
    assert sum(answers(await together(*(match(9) for _ in range(4))))) == 3


async def test_nobody_claims_a_receipt_for_ever(world: World) -> None:
    done = await apply(world, told(world, "a", Fact.SENT), told(world, "b", Fact.SENT))
    assert done.parked == 2
    async with world.system() as s:
        assert await s.receipts.drop_parked(older_than=world.now() - timedelta(hours=1)) == 0
        assert await s.receipts.drop_parked(older_than=world.now() + timedelta(hours=1)) == 2
        assert await s.receipts.drop_parked(older_than=world.now() + timedelta(hours=1)) == 0


async def test_a_receipt_only_finds_messages_of_those_who_vouch_for_it(world: World) -> None:
    tenant, stranger = await world.tenant(), await world.tenant()
    chunk = await world.sending(tenant, people=2)
    await world.settle(chunk, accepted(1, "a"), accepted(2, "b"))
    forged = frozenset({stranger})
    done = await apply(
        world,
        told(world, "a", Fact.DELIVERED, MessageId(chunk.run_id, 1), tenants=forged),
        told(world, "b", Fact.DELIVERED, tenants=forged),
    )
    assert (done.changed, done.parked) == (0, 2)
    assert await world.states(tenant, chunk.run_id) == [State.ACCEPTED, State.ACCEPTED]
    async with world.system() as s:
        assert (await s.receipts.match_parked(now=world.now(), limit=9)).changed == 0
    vouched = frozenset({stranger, tenant})
    done = await apply(world, told(world, "a", Fact.READ, tenants=vouched))
    assert done.changed == 1


# --- the lattice --------------------------------------------------------------------------------------------------

START = {
    "accepted": [accepted(1, "a")],
    "unknown": [change(1, State.UNKNOWN, Reason.NO_ANSWER)],
    "refused": [change(1, State.FAILED, Reason.REFUSED, refund=True)],
    "sending": [],
    "queued again": [change(1, State.QUEUED, Reason.PROVIDER_BUSY)],
}


@given(
    start=st.sampled_from(sorted(START)),
    facts=st.lists(st.sampled_from(Fact), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30)
async def test_any_order_of_facts_ends_where_the_rule_says(
    world: World, start: str, facts: list[Fact], seed: int
) -> None:
    ends = set()
    for order in (facts, random.Random(seed).sample(facts, len(facts))):
        tenant = await world.tenant()
        chunk = await world.sending(tenant, people=1)
        answered = [change(1, c.state, c.reason, refund=c.refund) for c in START[start]]
        await world.settle(chunk, *answered)
        expected = (await world.row(chunk)).state
        name = f"p{chunk.run_id.hex}"
        message = MessageId(chunk.run_id, 1)
        changed = 0
        for fact in order:
            moved = advance(expected, fact)
            changed += moved is not None
            expected = moved or expected
        done = [
            await apply(world, *(told(world, name, fact, message) for fact in order[n : n + 2]))
            for n in range(0, len(order), 2)
        ]
        row = await world.row(chunk)
        assert row.state is expected
        assert sum(d.changed for d in done) == changed
        assert sum(d.parked for d in done) == 0
        async with world.work(tenant) as w:
            tally = await w.ledger.tally([chunk.run_id])
        assert {s: n for s, n in tally.by_state.items() if n} == {row.state: 1}
        ends.add(row.state)
    assert len(ends) == 1


async def test_a_receipt_may_find_a_row_that_waits_again(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1)
    await world.settle(chunk, change(1, State.QUEUED, Reason.PROVIDER_UNREACHABLE))
    await apply(world, told(world, "a", Fact.SENT, MessageId(chunk.run_id, 1)))
    assert (await world.row(chunk)).state is State.SENT
    assert await world.mark(chunk, sending(1, attempt=2)) == frozenset()
