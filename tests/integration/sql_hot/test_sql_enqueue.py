"""Enqueue on real databases: one set-based statement, and a balance that twenty parallel callers cannot overdraw."""

from __future__ import annotations

import asyncio
import tracemalloc

from tests.contract.world import TODAY
from tests.integration.sql_hot.stores import Sql

from callboard.credits.rules import debited
from callboard.errors import InsufficientCredits
from callboard.ids import TenantId
from callboard.messages.model import Run
from callboard.segments.model import EVERYBODY


async def enqueue(sql: Sql, tenant: TenantId) -> Run | None:
    """What the campaign service does with the ledger and the account; None when the balance does not cover it."""
    run = sql.a_run(tenant)
    try:
        async with sql.work(tenant) as w:
            await w.ledger.open_run(run)
            n = await w.ledger.freeze(run.id, EVERYBODY, today=TODAY, now=run.created_at, chunk=500)
            await w.credits.book(debited(run.id, n, now=run.created_at))
    except InsufficientCredits:
        return None
    return run


async def test_twenty_parallel_enqueues_with_credits_for_ten(sql: Sql) -> None:
    tenant = await sql.tenant(credits=50)
    await sql.people(tenant, 5)
    done = [run for run in await asyncio.gather(*(enqueue(sql, tenant) for _ in range(20))) if run is not None]
    assert len(done) == 10
    async with sql.work(tenant) as w:
        assert await w.credits.balance() == 0
        assert sum(entry.amount for entry in await w.credits.entries()) == 0
        assert (await w.ledger.tally([run.id for run in done])).recipients == 50
    assert await sql.scalar("SELECT count(*) FROM runs") == 10
    assert await sql.scalar("SELECT count(*) FROM messages") == 50
    assert await sql.scalar("SELECT count(*) FROM chunks") == 10


async def test_a_refused_debit_books_nothing_even_if_the_transaction_goes_on(sql: Sql) -> None:
    tenant = await sql.tenant(credits=3)
    run = sql.a_run(tenant)
    async with sql.work(tenant) as w:
        try:
            await w.credits.book(debited(run.id, 4, now=sql.now()))
        except InsufficientCredits:
            refused = True
        assert refused
        assert await w.credits.book(debited(run.id, 3, now=sql.now())) == -3
    async with sql.work(tenant) as w:
        assert await w.credits.balance() == 0
        assert [entry.amount for entry in await w.credits.entries()] == [-3, 3]


async def test_as_many_statements_for_four_thousand_recipients_as_for_four(sql: Sql) -> None:
    few, many = await sql.tenant(credits=4), await sql.tenant(credits=4_000)
    await sql.people(few, 4)
    await sql.people(many, 4_000)
    with sql.statements() as for_few:
        assert await enqueue(sql, few) is not None
    tracemalloc.start()
    with sql.statements() as for_many:
        assert await enqueue(sql, many) is not None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert for_many == for_few
    assert peak < 1_000_000  # bytes: recipients never come to Python
    assert await sql.scalar("SELECT count(*) FROM chunks WHERE last - first = 499") == 8


async def test_numbers_have_no_gaps_and_chunks_cover_them(sql: Sql) -> None:
    tenant = await sql.tenant()
    run = await sql.run(tenant, people=23, chunk=10)
    assert run.recipients == 23
    assert [row.id.seq for row in await sql.rows(tenant, run.id)] == list(range(1, 24))
    chunks = [await sql.must_claim() for _ in range(3)]
    assert [(c.first, c.last) for c in chunks] == [(1, 10), (11, 20), (21, 23)]
    assert await sql.claim() is None
