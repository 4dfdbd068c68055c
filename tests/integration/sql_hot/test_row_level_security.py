"""The second wall, seen by the application's own role: neither owner nor superuser."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import sql as q
from sqlalchemy import make_url, text
from sqlalchemy.exc import ProgrammingError
from tests.contract.world import TODAY, accepted, sending
from tests.integration.sql_hot.stores import SECRET_KEY, Sql

from callboard.ids import MessageId, TenantId
from callboard.messages.messages import RunOpened
from callboard.messages.model import Fact, Receipt
from callboard.segments.model import EVERYBODY
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.policies import protected
from callboard_adapters.sql.schema import migrate
from callboard_adapters.sql.work import SqlStore
from callboard_adapters.system import Uuid7Ids


@pytest.fixture
async def app(pg_url: str) -> AsyncIterator[Sql]:
    """A migrated database, opened as a plain role with a pool of two."""
    migrate(pg_url)
    role = f"app_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(pg_url.replace("postgresql+psycopg://", "postgresql://", 1), autocommit=True) as c:
        c.execute(q.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(q.Identifier(role)))
        c.execute(q.SQL("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}").format(q.Identifier(role)))
        c.execute(q.SQL("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {}").format(q.Identifier(role)))
    url = make_url(pg_url).set(username=role, password="secret").render_as_string(hide_password=False)
    ids = Uuid7Ids()
    async with SqlStore.open(url, ids=ids, secret_key=SECRET_KEY, pool_size=1) as store:
        yield Sql(work=store.work, system=store.system, ids=ids, store=store, url=pg_url)


def invented(kind: str) -> object:
    """A value that a column of this type takes."""
    if kind == "uuid":
        return uuid.uuid4()
    if kind == "boolean":
        return True
    if kind == "bytea":
        return uuid.uuid4().bytes * 2
    if kind == "date" or kind.startswith("timestamp"):
        return "2026-03-01"
    return uuid.uuid4().hex[:2] if kind.startswith(("text", "character")) else 1


def fill(url: str, tenants: list[TenantId]) -> None:
    """One row of each tenant in every protected table, whatever its columns, as the superuser."""
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://", 1)) as c:
        for name in protected():
            for tenant in tenants:
                c.execute(q.SQL("DELETE FROM {} WHERE tenant_id = %s").format(q.Identifier(name)), [tenant])
                columns = c.execute(
                    "SELECT column_name, data_type FROM information_schema.columns"
                    " WHERE table_name = %s AND is_nullable = 'NO' AND is_identity = 'NO'",
                    [name],
                ).fetchall()
                values = {column: tenant if column == "tenant_id" else invented(kind) for column, kind in columns}
                statement = q.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    q.Identifier(name),
                    q.SQL(", ").join(map(q.Identifier, values)),
                    q.SQL(", ").join(q.Placeholder() * len(values)),
                )
                c.execute(statement, list(values.values()))


async def count(app: Sql, table: str, *, setting: tuple[str, str] | None) -> int:
    async with app.store.engine.begin() as c:
        if setting is not None:
            await c.execute(
                text("SELECT set_config(:name, :value, true)"), dict(zip(("name", "value"), setting, strict=True))
            )
        return int((await c.execute(text(f'SELECT count(*) FROM "{table}"'))).scalar_one())


async def test_the_wall_stands_round_every_table_of_a_tenant(app: Sql) -> None:
    found = await app.scalar(
        "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relrowsecurity AND relforcerowsecurity"
    )
    assert found.split(",") == sorted(set(t.metadata.tables) - t.SYSTEM_TABLES)
    assert not await app.scalar("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
    owner = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tableowner = current_user"
    assert await app.scalar(owner) == 0


async def test_without_a_tenant_nothing_and_with_one_only_its_own(app: Sql) -> None:
    mine, theirs = await app.tenant(), await app.tenant()
    await asyncio.to_thread(fill, app.url, [mine, theirs])
    for table in protected():
        assert await count(app, table, setting=None) == 0, table
        assert await count(app, table, setting=("app.tenant", "")) == 0, table
        assert await count(app, table, setting=("app.tenant", str(mine))) == 1, table
        assert await count(app, table, setting=("app.scope", "system")) == 2, table


async def test_a_foreign_row_can_neither_be_made_nor_taken_over(app: Sql) -> None:
    mine, theirs = await app.tenant(), await app.tenant()
    await asyncio.to_thread(fill, app.url, [mine, theirs])
    for table in protected():
        async with app.work(mine) as w:
            taken = f'UPDATE "{table}" SET tenant_id = tenant_id WHERE tenant_id = :theirs'
            assert (await w.connection.execute(text(taken), {"theirs": theirs})).rowcount == 0, table  # type: ignore[attr-defined]
            gone = f'DELETE FROM "{table}" WHERE tenant_id = :theirs'
            assert (await w.connection.execute(text(gone), {"theirs": theirs})).rowcount == 0, table  # type: ignore[attr-defined]
        with pytest.raises(ProgrammingError, match="row-level security"):
            async with app.work(mine) as w:
                given = f'UPDATE "{table}" SET tenant_id = :theirs'
                await w.connection.execute(text(given), {"theirs": theirs})  # type: ignore[attr-defined]


async def test_the_policy_is_evaluated_once_per_statement(app: Sql) -> None:
    mine = await app.tenant()
    async with app.work(mine) as w:
        found = await w.connection.execute(text("EXPLAIN SELECT * FROM messages"))  # type: ignore[attr-defined]
        plan = [line for (line,) in found]
    assert any("InitPlan" in line for line in plan)
    assert not any("current_setting" in line for line in plan if "Filter" in line)


async def test_two_hundred_interleaved_units_of_work_over_two_connections_leak_nothing(app: Sql) -> None:
    tenants = [await app.tenant() for _ in range(20)]
    for number, tenant in enumerate(tenants, start=1):
        await app.people(tenant, number)
    everywhere = text("SELECT count(*), count(DISTINCT tenant_id), min(CAST(tenant_id AS text)) FROM contacts")
    mixed = random.Random(7)

    async def look(number: int) -> None:
        tenant = tenants[number - 1]
        async with app.work(tenant) as w:
            await asyncio.sleep(mixed.random() / 200)
            seen = (await w.connection.execute(everywhere)).one()  # type: ignore[attr-defined]
            assert tuple(seen) == (number, 1, str(tenant))
            if mixed.random() < 0.2:
                raise RuntimeError(tenant)  # leaving by an error must not leak either

    async def look_across() -> None:
        async with app.system() as s:
            assert len(await s.directory.list()) == 20

    async def look_without() -> None:
        """A connection from the pool that nobody told anything: what the last one was told must be gone."""
        async with app.store.engine.begin() as c:
            assert tuple((await c.execute(everywhere)).one()) == (0, 0, None)

    calls = [look(mixed.randint(1, 20)) for _ in range(160)]
    calls += [look_across() for _ in range(20)] + [look_without() for _ in range(20)]
    mixed.shuffle(calls)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert not [o for o in outcomes if isinstance(o, BaseException) and not isinstance(o, RuntimeError)]
    assert app.store.engine.pool.size() == 1  # type: ignore[attr-defined]


async def test_the_whole_way_of_a_message_works_behind_the_wall(app: Sql) -> None:
    tenant = await app.tenant(credits=3)
    run = await app.run(tenant, people=3)
    chunk = await app.must_claim()
    assert await app.mark(chunk, sending(1), sending(2)) == {1, 2}
    assert await app.settle(chunk, accepted(1, "p-1"), remember=True) == {1}
    async with app.system() as s:
        receipt = Receipt(
            provider="sms",
            provider_message_id="p-1",
            message_id=None,
            fact=Fact.DELIVERED,
            at=app.now(),
        )
        assert (await s.receipts.apply([receipt], now=app.now())).changed == 1
        await s.outboxes.add(tenant, RunOpened(run_id=run.id, campaign_id=run.campaign_id))
        assert await s.accounts.book(tenant, app.entry("more", 2)) == 2
    async with app.system() as s:
        (delivery,) = await s.deliveries.fan_out({"run.opened": ["somebody"]}, limit=10)
    async with app.work(tenant) as w:
        assert (await w.ledger.tally([run.id])).recipients == 3
        assert await w.credits.balance() == 5
        assert await w.ledger.eligible(EVERYBODY, today=TODAY) == 3
        message = await w.ledger.message(MessageId(run.id, 1))
        assert message is not None
        assert message.delivered_at is not None
        assert not await w.inbox.finish_delivery(delivery, attempt=1)
