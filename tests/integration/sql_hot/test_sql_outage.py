"""A database that goes away is Unavailable, undoes the transaction and is used again when it is back."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.integration.sql_hot.stores import SECRET_KEY, Sql

from callboard.errors import NotFound, Unavailable
from callboard.ids import TenantId
from callboard_adapters.sql.work import SqlStore
from callboard_adapters.system import Uuid7Ids


def kill_everybody_else(url: str) -> int:
    """End every other connection to this database; how many."""
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://", 1), autocommit=True) as c:
        found = c.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    return len(found)


async def test_a_backend_killed_in_the_middle_leaves_nothing_and_the_pool_heals(pg: Sql) -> None:
    tenant = await pg.tenant()
    with pytest.raises(Unavailable):
        async with pg.work(tenant) as w:
            await w.credits.book(pg.entry("grant", 5))
            assert await asyncio.to_thread(kill_everybody_else, pg.url) >= 1
            await w.credits.book(pg.entry("grant-2", 5))
    async with pg.work(tenant) as w:
        assert await w.credits.balance() == 0


async def test_a_backend_killed_before_the_commit_is_unavailable_and_leaves_nothing(pg: Sql) -> None:
    tenant = await pg.tenant()
    with pytest.raises(Unavailable):
        async with pg.work(tenant) as w:
            await w.credits.book(pg.entry("grant", 5))
            await asyncio.to_thread(kill_everybody_else, pg.url)
    async with pg.work(tenant) as w:
        assert await w.credits.balance() == 0


async def test_idle_connections_that_died_are_replaced_without_an_error(pg: Sql) -> None:
    tenant = await pg.tenant()

    async def balance() -> int:
        async with pg.work(tenant) as w:
            await asyncio.sleep(0.05)
            return await w.credits.balance()

    await asyncio.gather(*(balance() for _ in range(6)))
    assert await asyncio.to_thread(kill_everybody_else, pg.url) >= 6
    assert await asyncio.gather(*(balance() for _ in range(6))) == [0] * 6


async def test_a_server_that_is_not_there_is_unavailable_soon() -> None:
    url = "postgresql://nobody@127.0.0.1:1/nowhere"
    async with SqlStore.open(url, ids=Uuid7Ids(), secret_key=SECRET_KEY) as store:
        async with asyncio.timeout(8):
            with pytest.raises(Unavailable):
                async with store.system():
                    raise AssertionError("never entered")


async def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: object) -> None:
    async with SqlStore.open(f"sqlite:///{tmp_path}/no/such/folder.db", ids=Uuid7Ids(), secret_key=SECRET_KEY) as store:
        with pytest.raises(Unavailable):
            async with store.system():
                raise AssertionError("never entered")


async def test_a_defect_stays_a_defect(sql: Sql) -> None:
    tenant = await sql.tenant()
    with pytest.raises(DBAPIError):
        async with sql.work(tenant) as w:
            await w.connection.execute(text("SELECT nonsense FROM nowhere"))  # type: ignore[attr-defined]


async def test_an_unknown_tenant_has_no_unit_of_work(sql: Sql) -> None:
    with pytest.raises(NotFound):
        async with sql.work(TenantId(sql.ids.new())):
            raise AssertionError("never entered")


async def test_one_engine_per_loop_gives_every_connection_back(pg: Sql) -> None:
    tenant = await pg.tenant()

    async def cancelled_in_the_middle() -> None:
        async with pg.work(tenant) as w:
            await w.credits.book(pg.entry("grant", 5))
            await asyncio.sleep(30)

    tasks = [asyncio.create_task(cancelled_in_the_middle()) for _ in range(12)]
    await asyncio.sleep(0.3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with pg.work(tenant) as w:
        assert await w.credits.balance() == 0
    assert pg.store.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
