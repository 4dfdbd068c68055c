"""The few places where the two databases spell the same statement differently."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar, cast

from sqlalchemy import ColumnElement, Table, func
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")


def insert_into(table: Table, *, is_sqlite: bool) -> postgresql.Insert:
    """An INSERT with ``on_conflict_do_nothing`` and ``on_conflict_do_update``: both databases have the same two."""
    return cast("postgresql.Insert", sqlite.insert(table)) if is_sqlite else postgresql.insert(table)


def batches(values: Iterable[T], size: int = 1000) -> Iterator[Sequence[T]]:
    """Slices small enough for one IN list on either database (SQLite takes 32,766 parameters)."""
    rest = iter(values)
    while part := tuple(islice(rest, size)):
        yield part


def database_time(*, is_sqlite: bool, offset: timedelta = timedelta()) -> ColumnElement[Any]:
    """The database's clock (start of the transaction on PostgreSQL) plus ``offset``, as a stored time."""
    if is_sqlite:
        # as UtcDateTime stores it; SQLite's clock has milliseconds
        return func.strftime("%Y-%m-%d %H:%M:%f000", "now", f"{offset.total_seconds():+.3f} seconds")
    return func.now() + offset
