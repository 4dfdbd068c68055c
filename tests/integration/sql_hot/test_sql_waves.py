"""Waves on real databases: few statements, fenced by the lease, no deadlock with receipts, cancels and each other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import sqlite as sqlite_dialect
from tests.contract.world import LONG, OVER, accepted, change, sending
from tests.integration.sql_hot.stores import Sql

from callboard.credits.rules import cancelled, debited, refunded
from callboard.errors import Unavailable
from callboard.ids import MessageId, RunId, TenantId
from callboard.messages.model import Change, Chunk, Fact, Reason, Receipt, Run, RunState, State
from callboard_adapters.sql import changes, queue, receipts

WAVE = 8


async def wave(sql: Sql, chunk: Chunk, answers: Sequence[Change]) -> list[int] | None:
    """One transaction as the dispatcher makes it; the rows marked, or None when the chunk went back."""
    async with sql.work(chunk.tenant_id) as w:
        now = sql.now()
        held = await w.ledger.renew(chunk, lease=LONG)
        settled = await w.ledger.settle(chunk, answers, now=now, remember=False) if answers else frozenset()
        found = await w.ledger.candidates(chunk, limit=WAVE, now=now, cap=None) if held else []
        marked = await w.ledger.mark(chunk, [sending(c.seq, attempt=c.attempt + 1) for c in found], now=now)
        if not found and await w.ledger.release(chunk, now=now, not_before=None):
            await w.ledger.move_run(chunk.run_id, to=RunState.DONE, expected=[RunState.OPEN], now=now)
        refunds = [c for c in answers if c.refund and c.seq in settled]
        ids = [MessageId(chunk.run_id, c.seq) for c in refunds]
        await w.credits.book(*(refunded(message, reason="refused", now=now) for message in ids))
    return sorted(marked) if found else None


def answered(chunk: Chunk, seq: int) -> Change:
    """Every ninth is refused and gets its credit back."""
    if seq % 9 == 0:
        return change(seq, State.FAILED, Reason.REFUSED, provider_code="no", refund=True)
    return accepted(seq, f"{chunk.run_id.hex}-{seq}")


async def dispatch(sql: Sql, told: list[Receipt]) -> None:
    """Send until nothing can be claimed; every message handed over is told of in ``told``."""
    while (chunk := await sql.claim(lease=LONG)) is not None:
        answers: list[Change] = []
        while (marked := await wave(sql, chunk, answers)) is not None:
            answers = [answered(chunk, seq) for seq in marked]
            told += [
                fact(chunk.run_id, c.seq, what)
                for c in answers
                if c.state is State.ACCEPTED
                for what in (Fact.SENT, Fact.DELIVERED)
            ]
            await asyncio.sleep(0)


def fact(run: RunId, seq: int, what: Fact) -> Receipt:
    return Receipt(
        provider="sms",
        provider_message_id=f"{run.hex}-{seq}",
        message_id=MessageId(run, seq),
        fact=what,
        at=datetime.now(UTC),
    )


async def paid_run(sql: Sql, tenant: TenantId, *, people: int, chunk: int) -> Run:
    """A frozen run whose credits are debited."""
    run = await sql.run(tenant, people=people, chunk=chunk)
    async with sql.work(tenant) as w:
        await w.credits.book(debited(run.id, people, now=sql.now()))
    return run


async def test_a_wave_is_few_statements_whatever_its_size(sql: Sql) -> None:
    tenant = await sql.tenant()
    await sql.run(tenant, people=60, chunk=60)
    chunk = await sql.must_claim()
    first = await wave(sql, chunk, [])
    assert first is not None
    with sql.statements() as sent:
        second = await wave(sql, chunk, [accepted(seq) for seq in first])
    assert second == list(range(WAVE + 1, 2 * WAVE + 1))
    # who we are, renew, settle, candidates, mark, counts: SQLite also begins, and reads before it writes
    assert len(sent) <= (6 if not sql.store.sqlite else 10), sent


async def test_dispatchers_receipts_and_a_cancel_never_wait_in_a_circle(pg: Sql) -> None:
    tenant = await pg.tenant(credits=500)
    run = await paid_run(pg, tenant, people=400, chunk=20)
    told: list[Receipt] = []
    sending_done = asyncio.Event()

    async def receive(seed: int) -> None:
        mixed = random.Random(seed)
        while not sending_done.is_set() or seed == 0:
            batch = mixed.sample(told, min(40, len(told)))  # the same rows in another order each time
            async with pg.system() as s:
                await s.receipts.apply(batch, now=pg.now())
            if sending_done.is_set():
                return
            await asyncio.sleep(0)

    async def send() -> None:
        await asyncio.gather(*(dispatch(pg, told) for _ in range(5)))
        sending_done.set()

    # any deadlock would be raised here as Unavailable
    await asyncio.gather(send(), *(receive(seed) for seed in range(4)))
    async with pg.system() as s:
        await s.receipts.apply(told, now=pg.now())
    await pg.recounted(tenant, run.id)
    async with pg.work(tenant) as w:
        tally = await w.ledger.tally([run.id])
        finished = await w.ledger.run(run.id)
        assert await w.credits.balance() == 500 - tally[State.DELIVERED]
    assert (tally[State.DELIVERED], tally[State.FAILED]) == (len(told) // 2, 400 - len(told) // 2)
    assert finished is not None
    assert finished.state is RunState.DONE


async def test_after_a_cancel_has_committed_nothing_is_marked(pg: Sql) -> None:
    tenant = await pg.tenant(credits=300)
    run = await paid_run(pg, tenant, people=300, chunk=20)
    told: list[Receipt] = []
    started = asyncio.Event()

    async def cancel() -> int:
        await started.wait()
        async with pg.work(tenant) as w:
            now = pg.now()
            assert await w.ledger.move_run(run.id, to=RunState.CANCELLED, expected=[RunState.OPEN], now=now)
            n = await w.ledger.cancel_queued(run.id, now=now)
            await w.credits.book(cancelled(run.id, n, now=now))
        return n

    async def send() -> None:
        while len(told) < 40 and (chunk := await pg.claim(lease=LONG)) is not None:
            answers: list[Change] = []
            while (marked := await wave(pg, chunk, answers)) is not None:
                answers = [answered(chunk, seq) for seq in marked]
                told.extend(fact(chunk.run_id, c.seq, Fact.SENT) for c in answers if c.state is State.ACCEPTED)
                if len(told) > 30:
                    started.set()
                await asyncio.sleep(0)

    cancelling = asyncio.create_task(cancel())
    await asyncio.gather(*(send() for _ in range(4)))
    stopped = await cancelling
    assert stopped > 0
    assert await pg.claim() is None
    rows = await pg.rows(tenant, run.id)
    assert sum(row.state is State.CANCELLED for row in rows) == stopped
    assert all(row.state in {State.CANCELLED, State.ACCEPTED, State.FAILED} for row in rows)
    assert all(row.credits == (1 if row.state is State.ACCEPTED else 0) for row in rows)
    await pg.recounted(tenant, run.id)
    async with pg.work(tenant) as w:
        assert await w.credits.balance() == 300 - sum(row.credits for row in rows)


async def test_a_pause_waits_for_the_wave_under_way_and_stops_the_next(pg: Sql) -> None:
    tenant = await pg.tenant()
    run = await pg.run(tenant, people=20)
    chunk = await pg.must_claim()
    order: list[str] = []

    async def pause() -> None:
        async with pg.work(tenant) as w:
            await w.ledger.move_run(run.id, to=RunState.PAUSED, expected=[RunState.OPEN], now=pg.now())
        order.append("paused")

    async with pg.work(tenant) as w:
        assert await w.ledger.renew(chunk, lease=LONG)
        pausing = asyncio.create_task(pause())
        await asyncio.sleep(0.2)
        assert await w.ledger.mark(chunk, [sending(1)], now=pg.now()) == {1}
        order.append("marked")
    await pausing
    assert order == ["marked", "paused"]
    async with pg.work(tenant) as w:
        assert not await w.ledger.renew(chunk, lease=LONG)
        assert await w.ledger.mark(chunk, [sending(2)], now=pg.now()) == frozenset()


async def test_the_lease_fences(sql: Sql) -> None:
    tenant = await sql.tenant()
    await sql.run(tenant, people=4)
    lost = await sql.must_claim(lease=OVER)
    assert await sql.mark(lost, sending(1), sending(2), sending(3)) == {1, 2, 3}
    assert await sql.expire() == 1
    assert await sql.claim(lease=LONG) is not None
    assert await sql.mark(lost, sending(4)) == frozenset()
    async with sql.work(tenant) as w:
        assert not await w.ledger.renew(lost, lease=LONG)
        assert not await w.ledger.release(lost, now=sql.now(), not_before=None)
    # a late answer still counts, but a row that is nobody's any more never goes back to the queue
    again = change(2, State.QUEUED, Reason.PROVIDER_BUSY, next_at=sql.now() + timedelta(minutes=1))
    assert await sql.settle(lost, accepted(1), again) == {1}
    assert await sql.states(tenant, lost.run_id) == [State.ACCEPTED, State.UNKNOWN, State.UNKNOWN, State.QUEUED]


async def test_rows_left_in_sending_by_a_holder_who_gave_the_chunk_back_become_unknown(sql: Sql) -> None:
    tenant = await sql.tenant()
    chunk = await sql.sending(tenant, people=2)
    assert not await sql.release(chunk)
    assert await sql.must_claim() == Chunk(
        run_id=chunk.run_id, tenant_id=tenant, number=1, first=1, last=2, claim=chunk.claim + 1
    )
    assert await sql.states(tenant, chunk.run_id) == [State.UNKNOWN, State.UNKNOWN]
    await sql.recounted(tenant, chunk.run_id)


async def test_a_day_is_the_tenants_day(sql: Sql) -> None:
    tenant = await sql.tenant()  # Asia/Kolkata
    chunk = await sql.sending(tenant, people=2)
    evening = datetime(2026, 3, 1, 20, 0, tzinfo=UTC)
    async with sql.work(tenant) as w:
        refused = change(2, State.FAILED, Reason.REFUSED, refund=True)
        await w.ledger.settle(chunk, [accepted(1), refused], now=evening, remember=False)
    days = await sql.scalar("SELECT count(*) FROM message_counts WHERE day = '2026-03-02' AND n = 1")
    assert days == 2


async def test_provider_words_that_a_database_cannot_hold_are_cleaned(sql: Sql) -> None:
    tenant = await sql.tenant()
    chunk = await sql.sending(tenant, people=1)
    bad = change(
        1, State.UNKNOWN, Reason.NO_ANSWER, provider_code="a\x00b" + "c" * 100, provider_message_id="x\x00\ud800"
    )
    assert await sql.settle(chunk, bad) == {1}
    row = await sql.row(chunk)
    assert (row.provider_code, row.provider_message_id) == ("ab" + "c" * 78, "x?")


@pytest.mark.parametrize(
    "statement",
    [changes._STORED_SQLITE, changes._UPDATE_SQLITE, queue._MOVE[1], queue._LEFT_SENDING[1], receipts._LOCKED[1]],
    ids=["stored", "update", "move", "sending", "receipts"],
)
async def test_sqlite_reads_the_rows_of_a_batch_and_not_the_run(sqlite: Sql, statement: object) -> None:
    # seen: with the run as a constant it read all rows of the run once per row of the batch, 2 rows/s at 100,000
    spelled = statement.compile(dialect=sqlite_dialect.dialect(paramstyle="named"))  # type: ignore[attr-defined]
    names = dict.fromkeys(spelled.params, "[]")
    async with sqlite.store.engine.connect() as c:
        plan = (await c.execute(text(f"EXPLAIN QUERY PLAN {spelled}"), names)).all()
    steps = [row[3] for row in plan if "messages" in row[3]]
    assert steps
    assert all("run_id=? AND seq" in step for step in steps), steps


@pytest.mark.parametrize("what", ["mark", "settle", "receipts"])
async def test_rows_are_locked_from_the_lowest_number_up(pg: Sql, what: str) -> None:
    # who locks in this order never waits for somebody who waits for him
    tenant = await pg.tenant()
    await pg.run(tenant, people=3)
    chunk = await pg.must_claim()
    if what != "mark":
        await pg.mark(chunk, *(sending(seq) for seq in (1, 2, 3)))

    async def change_all() -> None:
        if what == "mark":
            await pg.mark(chunk, *(sending(seq) for seq in (3, 1, 2)))
        elif what == "settle":
            await pg.settle(chunk, *(accepted(seq) for seq in (3, 1, 2)))
        else:
            async with pg.system() as s:
                await s.receipts.apply([fact(chunk.run_id, seq, Fact.SENT) for seq in (3, 1, 2)], now=pg.now())

    lock = text("SELECT seq FROM messages WHERE seq = :seq FOR UPDATE NOWAIT")
    async with pg.work(tenant) as w:
        await w.connection.execute(lock, {"seq": 1})  # type: ignore[attr-defined]
        changing = asyncio.create_task(change_all())
        await asyncio.sleep(0.3)
        for free in (2, 3):  # it waits for the first and holds none of the others
            await w.connection.execute(lock, {"seq": free})  # type: ignore[attr-defined]
        assert not changing.done()
    await changing
    assert await pg.states(tenant, chunk.run_id) != [State.QUEUED] * 3


async def test_a_deadlock_is_an_answer_to_try_again(pg: Sql) -> None:
    one, two = await pg.tenant(), await pg.tenant()
    first_held, second_held = asyncio.Event(), asyncio.Event()

    async def swap(mine: TenantId, other: TenantId, ready: asyncio.Event, go: asyncio.Event) -> str:
        lock = text("SELECT 1 FROM tenants WHERE id = :id FOR UPDATE")
        try:
            async with pg.work(mine) as w:
                await w.connection.execute(lock, {"id": mine})  # type: ignore[attr-defined]
                ready.set()
                await go.wait()
                await w.connection.execute(lock, {"id": other})  # type: ignore[attr-defined]
        except Unavailable:
            return "again"
        return "done"

    outcomes = await asyncio.gather(swap(one, two, first_held, second_held), swap(two, one, second_held, first_held))
    assert sorted(outcomes) == ["again", "done"]


async def test_a_tally_counts_what_its_own_transaction_did(sql: Sql) -> None:
    tenant = await sql.tenant()
    run = await sql.run(tenant, people=3)
    chunk = await sql.must_claim()
    async with sql.work(tenant) as w:
        await w.ledger.mark(chunk, [sending(1)], now=sql.now())
        inside = await w.ledger.tally([run.id])
    async with sql.work(tenant) as w:
        after = await w.ledger.tally([run.id])
    assert inside == after
    assert (after[State.QUEUED], after[State.SENDING], after.recipients) == (2, 1, 3)
