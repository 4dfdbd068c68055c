"""An audience becomes ledger rows: one INSERT … SELECT, whatever its size; performance.md section 1."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Uuid,
    and_,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    update,
)

from callboard.ids import RunId
from callboard.messages.model import Priority, State
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.batch import POSTGRESQL_NOW, SQLITE_NOW, parameters
from callboard_adapters.sql.counts import Key
from callboard_adapters.sql.scope import Scope
from callboard_adapters.sql.segments import eligible

c, m = t.contacts.c, t.messages.c


def failed_recipients(scope: Scope, of: RunId) -> ColumnElement[bool]:
    """The contact's row in run ``of`` has failed, and the contact is still eligible."""
    failed = and_(
        m.tenant_id == scope.tenant_id, m.run_id == of, m.failed_at.is_not(None), m.state == State.FAILED.value
    )
    return and_(eligible(scope.tenant_id), c.id.in_(select(m.contact_id).where(failed)))


async def freeze(scope: Scope, run: RunId, recipients: ColumnElement[bool], *, now: datetime, chunk: int) -> int:
    """Write the rows, their chunks and their count; a constant amount of memory here for any number of rows."""
    # SQLAlchemy forgets how many rows an INSERT made unless it is asked to keep it
    made = await scope.connection.execute(_rows(scope, run, recipients), execution_options={"preserve_rowcount": True})
    total = int(made.rowcount)
    counted = update(t.runs).where(t.runs.c.tenant_id == scope.tenant_id, t.runs.c.id == run).values(recipients=total)
    priority = (await scope.connection.execute(counted.returning(t.runs.c.priority))).scalar_one()
    if total:
        values = parameters(
            sqlite=scope.sqlite,
            tenant=scope.tenant_id,
            run=run,
            size=chunk,
            total=total,
            chunks=-(-total // chunk),
            priority=Priority(priority).rank,
            now=now,
        )
        await scope.connection.execute(_CHUNKS_SQLITE if scope.sqlite else _CHUNKS_POSTGRESQL, values)
        scope.counts.add(Key(run, scope.tenant_id, t.UNDATED, State.QUEUED.value, ""), total)
    return total


def _rows(scope: Scope, run: RunId, recipients: ColumnElement[bool]) -> Any:
    columns: dict[str, ColumnElement[Any]] = {
        "tenant_id": literal(scope.tenant_id, Uuid()),
        "run_id": literal(run, Uuid()),
        "seq": func.row_number(type_=Integer).over(),
        "contact_id": c.id,
        "phone": c.phone,
        "first_name": c.first_name,
        "last_name": c.last_name,
        "state": literal_column(f"'{State.QUEUED.value}'"),
        "attempt": literal_column("0"),
        "credits": literal_column("1"),
    }
    chosen: Select[tuple[Any, ...]] = select(*(value.label(name) for name, value in columns.items())).where(recipients)
    return insert(t.messages).from_select(list(columns), chosen, include_defaults=False)


_CHUNK_COLUMNS = """
    INSERT INTO chunks
        (tenant_id, run_id, number, first, last, priority, created_at, state, due_at, claim, barren)
"""
_CHUNKS_POSTGRESQL = text(f"""
    {_CHUNK_COLUMNS}
    SELECT
        :tenant, :run, n, (n - 1) * :size + 1, least(n * :size, :total),
        :priority, :now, 'open', {POSTGRESQL_NOW}, 0, 0
    FROM generate_series(1, :chunks) AS n
""")  # noqa: S608 - our own words
_CHUNKS_SQLITE = text(f"""
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :chunks)
    {_CHUNK_COLUMNS}
    SELECT
        :tenant, :run, n, (n - 1) * :size + 1, min(n * :size, :total),
        :priority, :now, 'open', {SQLITE_NOW}, 0, 0
    FROM numbers
""")  # noqa: S608 - our own words
