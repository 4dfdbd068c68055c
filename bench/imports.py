"""CSV import: file to contacts, end to end, against the bare COPY of the same columns."""

from __future__ import annotations

import argparse
import asyncio
import resource
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from bench.common import Row, open_store, postgres, report, sqlite
from callboard.contacts.service import ImportService
from callboard.ids import TenantId
from callboard.tenants.model import Tenant
from callboard_adapters.files import open_rows, read_ahead
from callboard_adapters.system import SystemClock, Uuid7Ids


def write_csv(path: Path, n: int) -> None:
    with path.open("w") as f:
        f.write("phone,firstName,lastName,email,gender,birthDate,smsConsent\n")
        for i in range(n):
            f.write(f"+91{7000000000 + i},First{i},Last{i},p{i}@example.com,female,1990-05-17,opted_in\n")


def bare_copy(url: str, n: int) -> float:
    """Rows per second of a bare COPY of the same values into a table with the same columns and indexes."""
    tenant = uuid.uuid4()
    with psycopg.connect(url.replace("+psycopg", "")) as c:
        c.execute("CREATE TABLE bare_contacts (LIKE contacts INCLUDING ALL)")
        start = time.perf_counter()
        columns = (
            "id, tenant_id, phone, phone_valid, first_name, last_name, email, gender, birth_date, tags, consent,"
            " created_at, updated_at"
        )
        with c.cursor() as cursor, cursor.copy(f"COPY bare_contacts ({columns}) FROM STDIN".encode()) as copy:
            for first in range(0, n, 10_000):
                copy.write(
                    "".join(
                        f"{uuid.uuid4()}\t{tenant}\t+91{7000000000 + i}\tt\tFirst{i}\tLast{i}\tp{i}@example.com\tfemale"
                        "\t1990-05-17\t\topted_in\tnow\tnow\n"
                        for i in range(first, min(first + 10_000, n))
                    )
                )
        c.commit()
        return n / (time.perf_counter() - start)


def bare_insert(url: str, n: int) -> float:
    """The same on SQLite: executemany in one transaction."""
    tenant = uuid.uuid4().hex
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as c:
        ddl = str(c.execute("SELECT sql FROM sqlite_master WHERE name = 'contacts'").fetchone()[0])
        c.execute(ddl.replace("TABLE contacts", "TABLE bare_contacts", 1))
        indexes = c.execute(
            "SELECT sql FROM sqlite_master WHERE tbl_name = 'contacts' AND type = 'index' AND sql IS NOT NULL"
        )
        for (sql,) in indexes.fetchall():
            c.execute(sql.replace(" INDEX ", " INDEX bare_", 1).replace(" ON contacts", " ON bare_contacts", 1))
        start = time.perf_counter()
        c.execute("BEGIN IMMEDIATE")
        c.executemany(
            "INSERT INTO bare_contacts (id, tenant_id, phone, phone_valid, first_name, last_name, email, gender,"
            " birth_date, tags, consent, created_at, updated_at) VALUES (?, ?, ?, 1, ?, ?, ?,"
            " 'female', '1990-05-17', '', 'opted_in', ?, ?)",
            (
                (
                    uuid.uuid4().hex,
                    tenant,
                    f"+91{7000000000 + i}",
                    f"First{i}",
                    f"Last{i}",
                    f"p{i}@example.com",
                    NOW,
                    NOW,
                )
                for i in range(n)
            ),
        )
        c.execute("COMMIT")
        return n / (time.perf_counter() - start)


NOW = "2026-01-01 00:00:00.000000"


async def measure(
    url: str, name: str, path: Path, n: int, limit: Callable[[str, int], float], limit_name: str
) -> list[Row]:
    store, ids = open_store(url), Uuid7Ids()
    tenant = TenantId(ids.new())
    async with store.system() as s:
        await s.directory.create(
            Tenant(id=tenant, slug="bench", name="Bench", region="IN", timezone="UTC", created_at=datetime.now(UTC))
        )
    service = ImportService(work=store.work, clock=SystemClock(), ahead=read_ahead)
    start = time.perf_counter()
    with path.open("rb") as file:
        outcome = await service.run(tenant, open_rows(file, path.name), dry_run=False)
    taken = time.perf_counter() - start
    await store.close()
    assert outcome.created == n
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Row(
            case=f"{name}: import of {n:,} rows",
            ours=n / taken,
            unit="rows/s",
            limit=limit(url, n),
            limit_name=limit_name,
            goal="≥ 50,000 rows/s or the limit",
        ),
        Row(case=f"{name}: Python peak memory after that", ours=peak, unit="MB"),
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=200_000)
    options = parser.parse_args(arguments)
    path = Path(tempfile.mkdtemp(prefix="callboard-bench-")) / "people.csv"
    write_csv(path, options.rows)
    rows = asyncio.run(measure(postgres(), "PostgreSQL", path, options.rows, bare_copy, "bare COPY"))
    rows += asyncio.run(measure(sqlite(), "SQLite", path, options.rows, bare_insert, "bare executemany"))
    report("imports", rows, as_json=options.json)


if __name__ == "__main__":
    main()
