"""The schema on both databases: from empty up, equal to the tables, down again, and safe when processes race."""

from __future__ import annotations

import asyncio
import sys
import warnings
from importlib.resources import files

import pytest
from alembic import command
from sqlalchemy import Connection, inspect, text

from callboard.errors import Unavailable
from callboard_adapters.sql import schema
from callboard_adapters.sql.policies import protected
from callboard_adapters.sql.tables import metadata


@pytest.fixture(params=["sqlite_url", "pg_url"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


def names(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def require_no_difference(url: str) -> None:
    """``alembic check``: raises when the tables in Python are not those in the database."""
    with schema._connected(url) as connection, warnings.catch_warnings():
        # SQLite cannot reflect indexes on expressions: they are compared on PostgreSQL
        warnings.filterwarnings("ignore", message=".*expression-based index.*")
        command.check(schema._config(connection))


def test_up_from_empty_equals_the_tables_and_goes_down_to_nothing(url: str) -> None:
    schema.migrate(url)
    schema.check(url)
    require_no_difference(url)
    with schema._connected(url) as connection:
        assert names(connection) == set(metadata.tables) | {"alembic_version"}
    schema.migrate(url, to="base")
    with schema._connected(url) as connection:
        assert names(connection) == {"alembic_version"}
    schema.migrate(url)
    schema.check(url)


def test_the_short_way_for_tests_makes_the_same(url: str) -> None:
    schema.create(url)
    schema.check(url)
    require_no_difference(url)
    schema.migrate(url)


def policies(url: str) -> list[tuple[object, ...]]:
    with schema._connected(url) as connection:
        found = connection.execute(text("SELECT tablename, policyname, cmd, qual FROM pg_policies ORDER BY 1"))
        return [tuple(row) for row in found]


def test_both_ways_put_up_the_same_wall(pg_url: str, new_pg_url: object) -> None:
    other: str = new_pg_url()  # type: ignore[operator]
    schema.migrate(pg_url)
    schema.create(other)
    assert policies(pg_url) == policies(other)
    assert [row[0] for row in policies(pg_url)] == protected()


def test_indexes_and_storage_are_those_of_the_tables(pg_url: str, new_pg_url: object) -> None:
    other: str = new_pg_url()  # type: ignore[operator]
    schema.migrate(pg_url)
    schema.create(other)
    seen = []
    for url in (pg_url, other):
        with schema._connected(url) as connection:
            indexes = connection.execute(text("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"))
            storage = connection.execute(
                text("SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL ORDER BY 1")
            )
            seen.append(([row[0] for row in indexes], [tuple(row) for row in storage]))
    assert seen[0] == seen[1]


def test_an_empty_database_is_outdated(url: str) -> None:
    with pytest.raises(schema.SchemaOutdated) as refused:
        schema.check(url)
    assert refused.value.details == {"current": None, "wanted": schema.head()}


def test_a_schema_of_a_newer_version_is_left_alone(url: str) -> None:
    schema.migrate(url)
    with schema._connected(url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from_the_future'"))
    with pytest.raises(schema.SchemaUnknown):
        schema.check(url)
    with pytest.raises(schema.SchemaUnknown):
        schema.migrate(url)


def test_a_migration_that_fails_leaves_nothing(url: str) -> None:
    with schema._connected(url) as connection:
        connection.execute(text("CREATE TABLE webhook_calls (id integer)"))  # stands in the way of ours
    with pytest.raises(Exception, match="webhook_calls"):
        schema.migrate(url)
    with schema._connected(url) as connection:
        assert names(connection) == {"webhook_calls"}


async def test_processes_that_race_make_one_schema(url: str) -> None:
    program = f"from callboard_adapters.sql.schema import check, migrate; migrate({url!r}); check({url!r})"
    racing = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE)
        for _ in range(4)
    ]
    ended = await asyncio.gather(*(process.communicate() for process in racing))
    assert [process.returncode for process in racing] == [0] * 4, [err.decode()[-500:] for _, err in ended]
    schema.check(url)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        schema.check("postgresql://nobody@127.0.0.1:1/nowhere")


def test_migrations_are_python_files_in_the_package() -> None:
    folder = files("callboard_adapters.sql") / "migrations"
    assert (folder / "env.py").is_file()
    revisions = [path.name for path in (folder / "versions").iterdir() if not path.name.startswith("__")]
    assert revisions
    assert all(name.endswith(".py") for name in revisions)
