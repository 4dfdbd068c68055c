"""Every contract test runs against every store. A store that cannot be built makes its tests fail, never skip."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.contract.world import World

from callboard_adapters.memory import CountingIds, ManualClock, MemoryStore

SECRET_KEY = b"contract tests know this key 012"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema and nothing else: tests copy it."""
    from callboard_adapters.sql.schema import migrate

    path = tmp_path_factory.mktemp("contract") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def pg_schema(new_pg_url: Callable[[], str]) -> str:
    """One PostgreSQL database with the schema: tests empty it."""
    from callboard_adapters.sql.schema import migrate

    url = new_pg_url()
    migrate(url)
    return url


@pytest.fixture
def emptied_pg(pg_schema: str) -> str:
    """The database without a row. DELETE is much faster than TRUNCATE on small tables."""
    import psycopg

    from callboard_adapters.sql.tables import metadata

    with psycopg.connect(pg_schema.replace("postgresql+psycopg://", "postgresql://", 1), autocommit=True) as c:
        c.execute(";".join(f'DELETE FROM "{table.name}"' for table in metadata.sorted_tables))
    return pg_schema


@pytest.fixture
def sqlite_file(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh SQLite file with the schema."""
    copy = tmp_path / "contract.db"
    shutil.copy(sqlite_template, copy)
    return f"sqlite:///{copy}"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """The store under test."""
    if request.param == "memory":
        clock, ids = ManualClock(), CountingIds()

        async def give_way(moment: str) -> None:
            """Let concurrent tests really interleave between any two port calls."""
            await asyncio.sleep(0)

        store = MemoryStore(clock=clock, ids=ids, checkpoint=give_way)
        yield World(work=store.work, system=store.system, ids=ids, clock=clock)
        return
    url: str = request.getfixturevalue("sqlite_file" if request.param == "sqlite" else "emptied_pg")
    from callboard_adapters.sql.work import SqlStore
    from callboard_adapters.system import Uuid7Ids

    sql_ids = Uuid7Ids()
    async with SqlStore.open(url, ids=sql_ids, secret_key=SECRET_KEY) as sql:
        yield World(work=sql.work, system=sql.system, ids=sql_ids)
