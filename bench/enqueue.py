"""Enqueue: all it does (rows, chunks, counts, credits, event) against the bare INSERT … SELECT of the same rows."""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from datetime import UTC, datetime

from sqlalchemy import text

from bench.common import Row, fill_contacts, open_store, postgres, report, sqlite
from callboard.credits.model import Entry, EntryKind
from callboard.ids import RunId, TenantId
from callboard.messages.messages import RunOpened
from callboard.messages.model import Content, Priority, Purpose, Run, RunState
from callboard.segments.model import EVERYBODY
from callboard.tenants.model import Channel, Tenant
from callboard_adapters.sql.work import SqlStore
from callboard_adapters.system import Uuid7Ids

IDS = Uuid7Ids()


async def ours(store: SqlStore, tenant: TenantId) -> tuple[int, float]:
    """Everything an enqueue does in its transaction."""
    run_id, now = RunId(IDS.new()), datetime.now(UTC)
    start = time.perf_counter()
    async with store.work(tenant) as w:
        await w.ledger.open_run(
            Run(
                id=run_id,
                tenant_id=tenant,
                campaign_id=None,
                number=1,
                state=RunState.OPEN,
                purpose=Purpose.MARKETING,
                priority=Priority.NORMAL,
                content=Content(channel=Channel.SMS, text="Hi {{firstName}}", values={}, unsubscribe_base=None),
                recipients=0,
                created_at=now,
            )
        )
        n = await w.ledger.freeze(run_id, EVERYBODY, today=now.date(), now=now, chunk=500)
        await w.credits.book(
            Entry(key=f"debit:{run_id.hex}", kind=EntryKind.DEBIT, amount=-n, run_id=run_id, reason=None, at=now)
        )
        await w.outbox.add(RunOpened(run_id=run_id, campaign_id=None))
    return n, time.perf_counter() - start


async def bare(store: SqlStore, tenant: TenantId) -> float:
    """The same rows into a table with the same columns and indexes, nothing else."""
    run_id = IDS.new()
    values = {"run": run_id.hex if store.sqlite else run_id, "tenant": tenant.hex if store.sqlite else tenant}
    start = time.perf_counter()
    async with store.engine.begin() as c:
        if not store.sqlite:
            await c.execute(text("SELECT set_config('app.scope', 'system', true)"))
        await c.execute(
            text(
                "INSERT INTO bare_messages (tenant_id, run_id, seq, contact_id, phone, first_name, last_name, state,"
                " attempt, credits) SELECT :tenant, :run, row_number() OVER (), id, phone, first_name, last_name,"
                " 'queued', 0, 1 FROM contacts WHERE tenant_id = :tenant AND deleted_at IS NULL AND phone IS NOT NULL"
                " AND consent = 'opted_in'"
            ),
            values,
        )
    return time.perf_counter() - start


async def prepare(store: SqlStore) -> None:
    async with store.engine.begin() as c:
        if store.sqlite:
            ddl = (await c.execute(text("SELECT sql FROM sqlite_master WHERE name = 'messages'"))).scalar_one()
            await c.execute(
                text(
                    ddl.replace("TABLE messages", "TABLE bare_messages", 1).replace(
                        'TABLE "messages"', "TABLE bare_messages", 1
                    )
                )
            )
            for sql in (
                await c.execute(
                    text(
                        "SELECT sql FROM sqlite_master WHERE tbl_name = 'messages' AND type = 'index'"
                        " AND sql IS NOT NULL"
                    )
                )
            ).scalars():
                await c.execute(text(sql.replace("ix_messages", "ix_bare").replace("ON messages", "ON bare_messages")))
        else:
            await c.execute(text("CREATE TABLE bare_messages (LIKE messages INCLUDING ALL) WITH (fillfactor=75)"))


async def measure(url: str, name: str, sizes: list[int]) -> list[Row]:
    rows = []
    store = open_store(url)
    await prepare(store)
    for n in sizes:
        tenant = TenantId(IDS.new())
        async with store.system() as s:
            await s.directory.create(
                Tenant(
                    id=tenant,
                    slug=f"bench-{n}",
                    name="Bench",
                    region="IN",
                    timezone="UTC",
                    created_at=datetime.now(UTC),
                )
            )
        async with store.work(tenant) as w:
            await w.credits.book(
                Entry(key="grant", kind=EntryKind.GRANT, amount=10 * n, run_id=None, reason=None, at=datetime.now(UTC))
            )
        await fill_contacts(store, tenant, n)
        limits, mine, count = [], [], 0
        for _ in range(5 if n <= 100_000 else 1):  # alternating, so that both meet the same noise
            limits.append(await bare(store, tenant))
            count, taken = await ours(store, tenant)
            mine.append(taken)
        rows.append(
            Row(
                case=f"{name}: enqueue {count:,} of {n:,}",
                ours=sorted(mine)[len(mine) // 2],
                unit="s",
                limit=sorted(limits)[len(limits) // 2],
                limit_name="bare INSERT … SELECT",
                goal="≤ 1.5 × the limit" if n <= 100_000 else "constant memory",
            )
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append(Row(case=f"{name}: Python peak memory after that", ours=peak, unit="MB"))
    await store.close()
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--big", action="store_true", help="also 1,000,000 recipients")
    options = parser.parse_args(arguments)
    sizes = [10_000, 100_000] + ([1_000_000] if options.big else [])
    rows = asyncio.run(measure(postgres(), "PostgreSQL", sizes)) + asyncio.run(measure(sqlite(), "SQLite", sizes))
    report("enqueue", rows, as_json=options.json)


if __name__ == "__main__":
    main()
