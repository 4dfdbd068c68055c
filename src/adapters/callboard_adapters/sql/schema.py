"""The schema's life: made from empty or brought up to date by Alembic, and refused when we do not know it.

All functions are synchronous (they run before a server starts, or in a thread).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from callboard.errors import Conflict
from callboard_adapters.sql.engine import answering, normalise_url, prepare_sqlite
from callboard_adapters.sql.policies import protect
from callboard_adapters.sql.tables import metadata

_SYNC_DRIVERS: Final = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}
_LOCK: Final = 0x63616C6C626F6172  # "callboar": two processes that migrate wait for each other


class SchemaUnknown(Conflict):
    """The database has a schema that this version does not know: made by a newer version, or by somebody else."""

    code = "SCHEMA_UNKNOWN"


class SchemaOutdated(Conflict):
    """The database is empty or older than this version; ``callboard migrate`` brings it up to date."""

    code = "SCHEMA_OUTDATED"


def migrate(url: str, *, to: str = "head") -> None:
    """Bring the schema up to date, in one transaction; any number of processes may try at the same time.

    Raises SchemaUnknown, Unavailable.
    """
    with _connected(url) as connection:
        if connection.dialect.name == "postgresql":  # SQLite has taken its write lock already
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        _require_known(connection)
        config = _config(connection)
        if to == "base":
            command.downgrade(config, to)
        else:
            command.upgrade(config, to)


def check(url: str) -> None:
    """Return when the schema is the one this version was written for; SchemaOutdated or SchemaUnknown otherwise."""
    with _connected(url) as connection:
        current = _require_known(connection)
    if current != head():
        raise SchemaOutdated(
            "The database schema is not up to date; run: callboard migrate", current=current, wanted=head()
        )


def head() -> str:
    """The revision that this version was written for."""
    found = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert found is not None
    return found


def create(url: str) -> None:
    """The same schema straight from the tables, stamped as up to date: for tests, several times faster."""
    with _connected(url) as connection:
        metadata.create_all(connection)
        protect(connection)
        command.stamp(_config(connection), "head")


def _require_known(connection: Connection) -> str | None:
    current = MigrationContext.configure(connection).get_current_heads()
    if len(current) > 1:
        raise SchemaUnknown("The database has a branched schema history")
    if not current:
        return None
    try:
        ScriptDirectory.from_config(_config(None)).get_revision(current[0])
    except CommandError:
        raise SchemaUnknown(
            "The database schema was made by a newer version of Callboard", current=current[0]
        ) from None
    return current[0]


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    parsed = normalise_url(url)
    engine = create_engine(parsed.set(drivername=_SYNC_DRIVERS[parsed.get_backend_name()]), poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        prepare_sqlite(engine)
    try:
        with answering(), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


__all__ = ["SchemaOutdated", "SchemaUnknown", "check", "create", "head", "migrate"]
