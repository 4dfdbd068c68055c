"""Many rows as one statement: a batch travels as one JSON parameter, which both databases can read as a table.

Measured on 200 rows of 8 columns: 2.7 ms as JSON, 8.6 ms as typed arrays (psycopg builds those in Python).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

SQLITE_NOW = "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"
"""The database's clock as SQLite text in the form of ``tables.UtcDateTime``."""

POSTGRESQL_NOW = "clock_timestamp()"


def plain(value: object, *, sqlite: bool) -> object:
    """A value as a hand-written statement takes it: what ``tables`` does for Core statements."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}" if sqlite else value
    if isinstance(value, date):
        return value.isoformat() if sqlite else value
    if isinstance(value, UUID):
        return value.hex if sqlite else value
    return value


def parameters(*, sqlite: bool, **values: object) -> dict[str, Any]:
    """Named parameters of a hand-written statement."""
    return {name: plain(value, sqlite=sqlite) for name, value in values.items()}


def as_json(rows: Iterable[Mapping[str, object]], *, sqlite: bool) -> str:
    """The rows as a JSON array of objects."""

    def default(value: object) -> object:
        made = plain(value, sqlite=sqlite)
        return str(made) if isinstance(made, UUID) else made.isoformat() if isinstance(made, date) else made

    return json.dumps(list(rows), default=default, separators=(",", ":"))


def recordset(columns: Mapping[str, str], *, sqlite: bool, parameter: str = "batch", alias: str = "i") -> str:
    """A FROM item that reads a batch; ``columns`` maps names to PostgreSQL types."""
    if sqlite:
        picked = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
        return f"(SELECT {picked} FROM json_each(:{parameter})) AS {alias}"  # noqa: S608 - our own column names
    typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"json_to_recordset(CAST(:{parameter} AS json)) AS {alias}({typed})"


def storable(words: str | None, *, at_most: int | None = None) -> str | None:
    """Text from outside as both databases can hold it: no NUL, no lone surrogate, no longer than its column."""
    if words is None:
        return None
    return words.replace("\x00", "").encode(errors="replace").decode()[:at_most]
