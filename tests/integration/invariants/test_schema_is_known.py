"""Nobody is served on a schema this version was not written for, and nobody's PostgreSQL is migrated unasked."""

from __future__ import annotations

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from callboard_adapters.jobs.brokers import memory_broker
from callboard_adapters.sql import schema
from callboard_adapters.sql.tables import metadata
from callboard_app.bootstrap import bootstrap, prepare
from callboard_app.settings import load


def sync(url: str) -> Any:
    return create_engine(url)


async def start(url: str) -> None:
    environ = {"CALLBOARD_DATABASE_URL": url, "CALLBOARD_SECRET_KEY": "a key of the tests that is long enough"}
    async with bootstrap(load(environ), broker=memory_broker()) as container:
        await prepare(container)


async def test_a_schema_of_a_newer_version_is_refused(both_urls: str) -> None:
    await start(both_urls)
    engine = sync(both_urls)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_from_the_future'"))
    with pytest.raises(schema.SchemaUnknown):
        await start(both_urls)
    engine.dispose()


async def test_an_empty_postgresql_is_refused_and_stays_empty(pg_url: str) -> None:
    with pytest.raises(schema.SchemaOutdated):
        await start(pg_url)
    engine = sync(pg_url)
    with engine.begin() as connection:
        tables = connection.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")).scalar_one()
    engine.dispose()
    assert tables == 0


def test_what_the_migrations_make_is_what_the_code_reads(both_urls: str) -> None:
    engine = sync(both_urls)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        differences = compare_metadata(context, metadata)
    engine.dispose()
    assert [d for d in differences if isinstance(d, list) or d[0].endswith(("table", "column"))] == []
