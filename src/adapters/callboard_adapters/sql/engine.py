"""One engine per event loop, the same rules on both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from callboard.errors import Unavailable

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=15000",
    "temp_store=MEMORY",
    "cache_size=-32000",
)
# Plans of tables that grow within minutes from nothing to millions of rows must not be kept, and compiling one
# (jit) costs more than any of our statements runs.
_SERVER_SETTINGS: Final = "-c timezone=UTC -c jit=off -c plan_cache_mode=force_custom_plan"


def normalise_url(url: str) -> URL:
    """Accept ``sqlite:///…``, ``postgresql://…`` and ``postgres://…`` and name our drivers."""
    parsed = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url)
    return parsed.set(drivername=_DRIVERS.get(parsed.get_backend_name(), parsed.drivername))


def create_engine(url: str, *, pool_size: int = 8) -> AsyncEngine:
    """An engine whose transactions begin as :class:`SqlStore` needs them; dispose of it on its own loop."""
    parsed = normalise_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_async_engine(parsed, pool_size=pool_size, connect_args={"timeout": 15})
        prepare_sqlite(engine.sync_engine)
        return engine
    return create_async_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 5,
            "application_name": "callboard",
            "prepare_threshold": 5,
            "options": _SERVER_SETTINGS,
        },
    )


def prepare_sqlite(engine: Any) -> None:
    """Our pragmas and our BEGIN on every connection of a synchronous engine."""
    event.listen(engine, "connect", _sqlite_connect)
    event.listen(engine, "begin", _sqlite_begin)


def _sqlite_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_begin(connection: Any) -> None:
    # A writer takes its lock at once: no deadlock by upgrading, no "database is locked" in the middle.
    mode = "DEFERRED" if connection.get_execution_options().get("read_only") else "IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN {mode}")


def is_sqlite(engine: AsyncEngine) -> bool:
    """True on the embedded default."""
    return engine.dialect.name == "sqlite"


@contextmanager
def answering() -> Iterator[None]:
    """A database that does not answer, or that asks to try again, is :class:`Unavailable`, without the driver's words.

    A deadlock and a serialisation failure count as "try again": the transaction is gone, the same call may succeed.
    Everything else (a statement it does not understand, a broken constraint) is a defect and stays what it is.
    """
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("The database does not answer") from error
    except DBAPIError as error:
        if error.connection_invalidated or _temporary(error.orig):
            raise Unavailable("The database does not answer") from error
        raise


# SQLSTATE classes: connection exceptions, transaction rollback (deadlock, serialisation), resources, intervention
# (shutdown, killed backend), system errors
_TEMPORARY_CLASSES: Final = frozenset({"08", "40", "53", "57", "58"})


def _temporary(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        # no code: aiosqlite's "no active connection"; the low byte is the primary code of an extended one
        return code is None or (code & 0xFF) in _SQLITE_TEMPORARY
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return str(state)[:2] in _TEMPORARY_CLASSES or state == "55P03"  # lock not available
    # psycopg knows no state when the server cannot be reached or the connection is closed
    return type(error).__name__ in {"OperationalError", "InterfaceError", "PoolTimeout"}


_SQLITE_TEMPORARY: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_INTERRUPT,
    }
)


__all__ = ["answering", "create_engine", "is_sqlite", "normalise_url", "prepare_sqlite"]
