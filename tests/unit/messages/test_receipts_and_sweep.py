"""Receipts and the sweeper on the memory store."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.messages.shop import Shop, drive, hex_id

from callboard.campaigns.model import CampaignStatus
from callboard.credits.model import EntryKind
from callboard.ids import RunId, TenantId
from callboard.messages.model import Fact, Reason, Receipt, State
from callboard.messages.ports import Ambiguous
from callboard_adapters.memory import MemoryChannel


async def sent(people: int = 3, script: Any = lambda _: None) -> tuple[Shop, RunId]:
    shop = await Shop(provider=MemoryChannel(script=script)).open(people)
    run = (await shop.campaigns.enqueue(shop.tenant, (await shop.campaign()).id)).run_id
    await shop.send_all()
    return shop, run


async def test_receipts_move_rows_forward_once_and_a_repeat_changes_nothing() -> None:
    shop, run = await sent()
    first = await shop.receipts.apply(shop.receipts_for(Fact.DELIVERED))
    assert first.changed == 3
    again = await shop.receipts.apply(shop.receipts_for(Fact.DELIVERED))
    assert (again.changed, again.duplicate) == (0, 3)
    late = await shop.receipts.apply(shop.receipts_for(Fact.SENT))
    assert late.changed == 0
    assert set(await shop.states(run)) == {State.DELIVERED}
    await shop.receipts.apply(shop.receipts_for(Fact.READ, [2]))
    assert await shop.states(run) == [State.DELIVERED, State.READ, State.DELIVERED]
    assert (await shop.tally(run)).accepted == 3


async def test_a_failure_after_acceptance_changes_the_status_and_not_the_credits() -> None:
    shop, run = await sent()
    await shop.receipts.apply(shop.receipts_for(Fact.FAILED, [1]))
    row = await shop.row(run, 1)
    assert (row.state, row.reason, row.credits) == (State.FAILED, Reason.UNDELIVERED, 1)
    assert await shop.balance() == 997
    assert (await shop.tally(run)).accepted == 3, "sent is accepted by the provider, whatever came after"
    await shop.receipts.apply(shop.receipts_for(Fact.DELIVERED, [1]))
    assert (await shop.row(run, 1)).state is State.DELIVERED
    await shop.conserved()


async def test_a_lost_answer_is_settled_by_its_receipt() -> None:
    shop, run = await sent(script=lambda _: Ambiguous())
    assert set(await shop.states(run)) == {State.UNKNOWN}
    facts = [
        Receipt(
            provider="memory",
            provider_message_id=f"p{row.id.seq}",
            message_id=row.id,
            fact=Fact.DELIVERED,
            at=shop.clock.now(),
        )
        for row in await shop.rows(run)
    ]
    await shop.receipts.apply(facts)
    await shop.wait(days=2)
    await shop.sweep()
    assert set(await shop.states(run)) == {State.DELIVERED}
    assert await shop.balance() == 997
    await shop.conserved()


async def test_a_proof_after_the_refund_corrects_the_row_and_is_written_off_once() -> None:
    shop, run = await sent(people=1, script=lambda _: Ambiguous())
    await shop.wait(days=1, seconds=1)
    swept = await shop.sweep()
    assert swept.given_up == 1
    assert (await shop.row(run)).state is State.UNCONFIRMED
    assert await shop.balance() == 1000
    row = (await shop.row(run)).id
    for fact in (Fact.SENT, Fact.DELIVERED, Fact.DELIVERED, Fact.READ):
        await shop.receipts.apply(
            [Receipt(provider="m", provider_message_id="x", message_id=row, fact=fact, at=shop.clock.now())]
        )
    assert (await shop.row(run)).state is State.READ
    assert await shop.balance() == 1000
    async with shop.work(shop.tenant) as w:
        kinds = [entry.kind for entry in await w.credits.entries()]
    assert kinds.count(EntryKind.WRITEOFF) == 1
    assert kinds.count(EntryKind.REFUND) == 1
    await shop.conserved()


async def test_a_receipt_before_its_message_is_known_is_parked_and_matched_later() -> None:
    shop = await Shop().open(1)
    early = Receipt(
        provider="memory", provider_message_id="memory-1", message_id=None, fact=Fact.DELIVERED, at=shop.clock.now()
    )
    assert (await shop.receipts.apply([early])).parked == 1
    run = (await shop.campaigns.enqueue(shop.tenant, (await shop.campaign()).id)).run_id
    await shop.send_all()
    swept = await shop.sweep()
    assert swept.matched == 1
    assert (await shop.row(run)).state is State.DELIVERED


async def test_a_parked_receipt_is_dropped_after_72_hours_and_not_before() -> None:
    shop = await Shop().open(0)
    stray = Receipt(provider="m", provider_message_id="?", message_id=None, fact=Fact.SENT, at=shop.clock.now())
    await shop.receipts.apply([stray])
    await shop.wait(hours=71, minutes=59)
    assert (await shop.sweep()).dropped == 0
    await shop.wait(minutes=2)
    assert (await shop.sweep()).dropped == 1


async def test_a_signature_of_another_tenant_moves_nothing_of_ours() -> None:
    shop, run = await sent(people=1)
    foreign = frozenset({TenantId(hex_id(99))})
    await shop.receipts.apply(shop.receipts_for(Fact.DELIVERED), tenants=foreign)
    await shop.sweep()
    assert (await shop.row(run)).state is State.ACCEPTED
    await shop.receipts.apply(shop.receipts_for(Fact.DELIVERED), tenants=frozenset({shop.tenant}))
    assert (await shop.row(run)).state is State.DELIVERED


async def test_an_empty_batch_is_nothing() -> None:
    shop, _ = await sent(people=1)
    assert (await shop.receipts.apply([])).changed == 0


batches = st.lists(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(Fact)), max_size=4), max_size=4)


@settings(max_examples=40, deadline=None)
@given(batches, st.randoms(use_true_random=False))
def test_any_order_of_the_same_receipts_ends_in_the_same_rows(batches: list[Any], random: Any) -> None:
    async def end(order: list[list[tuple[int, Fact]]]) -> tuple[list[State], int]:
        shop, run = await sent()
        for batch in order:
            await shop.receipts.apply([r for seq, fact in batch for r in shop.receipts_for(fact, [seq])])
        await shop.conserved()
        return await shop.states(run), (await shop.tally(run)).recipients

    shuffled = [[pair] for batch in batches for pair in batch] * 2
    random.shuffle(shuffled)
    assert drive(end(batches)) == drive(end(shuffled))


# --- the sweeper ------------------------------------------------------------------------------------------------------


async def test_a_campaign_left_by_a_dead_worker_is_finished_by_itself() -> None:
    """Nobody hears a hint, the first worker is gone with its lease: sweeps alone bring everything to its end."""
    shop = await Shop(chunk=2, provider=MemoryChannel(concurrency=1)).open(4)
    campaign = await shop.campaign()
    run = (await shop.campaigns.enqueue(shop.tenant, campaign.id)).run_id
    async with shop.system() as s:
        gone = await s.queue.claim(worker="dead", lease=shop.dispatcher().lease, max_claims=5)
    assert gone is not None
    await shop.send_all()
    assert (await shop.tally(run))[State.QUEUED] == 2
    shop.hints.heard.clear()
    await shop.wait(seconds=61)
    swept = await shop.sweep()
    assert (swept.freed, swept.waiting) == (1, 1)
    assert ("dispatch", ()) in shop.hints.heard
    await shop.dispatch()
    await shop.relay.run_once()
    shop.hints.heard.clear()
    assert (await shop.sweep()).redelivered == 1
    (arguments,) = shop.hints.take("deliver")
    assert len(arguments) == 1
    await shop.settle_events()
    assert (await shop.reload(campaign)).status is CampaignStatus.SENT


@pytest.mark.parametrize("sweeps", [1, 3])
async def test_unknown_rows_give_their_credit_back_once_after_the_reconcile_window(sweeps: int) -> None:
    shop, run = await sent(script=lambda m: Ambiguous() if m.reference.seq != 2 else None)
    await shop.wait(hours=23, minutes=59)
    assert (await shop.sweep()).given_up == 0
    await shop.wait(minutes=2)
    for _ in range(sweeps):
        await shop.sweep()
    assert await shop.states(run) == [State.UNCONFIRMED, State.ACCEPTED, State.UNCONFIRMED]
    assert {row.reason for row in await shop.rows(run)} == {Reason.NO_PROOF, Reason.CLEARED}
    assert await shop.balance() == 999
    await shop.conserved()


async def test_a_run_that_drained_while_nobody_looked_is_finished_by_the_sweep() -> None:
    shop = await Shop().open(2)
    campaign = await shop.campaign()
    run = (await shop.campaigns.enqueue(shop.tenant, campaign.id)).run_id
    async with shop.system() as s:
        chunk = await s.queue.claim(worker="w", lease=shop.dispatcher().lease, max_claims=5)
    assert chunk is not None
    early = [
        Receipt(provider="m", provider_message_id=f"p{n}", message_id=row.id, fact=Fact.SENT, at=shop.clock.now())
        for n, row in enumerate(await shop.rows(run))
    ]
    await shop.receipts.apply(early)
    async with shop.work(shop.tenant) as w:
        assert await w.ledger.release(chunk, now=shop.clock.now(), not_before=None)
    assert (await shop.sweep()).finished == 1
    assert (await shop.sweep()).finished == 0
    await shop.settle_events()
    assert (await shop.reload(campaign)).status is CampaignStatus.SENT
