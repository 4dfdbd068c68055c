"""Databases with the schema and nothing else, each test its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.integration.sql_hot.stores import SECRET_KEY, Sql

from callboard_adapters.sql.schema import create
from callboard_adapters.sql.work import SqlStore
from callboard_adapters.system import Uuid7Ids


async def _opened(url: str, *, pool_size: int = 8) -> AsyncIterator[Sql]:
    create(url)
    ids = Uuid7Ids()
    async with SqlStore.open(url, ids=ids, secret_key=SECRET_KEY, pool_size=pool_size) as store:
        yield Sql(work=store.work, system=store.system, ids=ids, store=store, url=url)


@pytest.fixture
async def pg(pg_url: str) -> AsyncIterator[Sql]:
    """PostgreSQL."""
    async for sql in _opened(pg_url):
        yield sql


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[Sql]:
    """SQLite."""
    async for sql in _opened(sqlite_url):
        yield sql


@pytest.fixture(params=["sqlite", "pg"])
async def sql(request: pytest.FixtureRequest) -> AsyncIterator[Sql]:
    """Both, one after the other."""
    url: str = request.getfixturevalue("pg_url" if request.param == "pg" else "sqlite_url")
    async for opened in _opened(url):
        yield opened
