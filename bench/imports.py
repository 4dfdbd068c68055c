"""CSV import: file to contacts, end to end, against the bare COPY of the same columns."""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.common import Row, open_store, postgres, report, sqlite
from callboard.contacts.service import ImportService
from callboard.ids import TenantId
from callboard.tenants.model import Tenant
from callboard_adapters.files import open_rows
from callboard_adapters.system import SystemClock, Uuid7Ids


def write_csv(path: Path, n: int) -> None:
    with path.open("w") as f:
        f.write("phone,firstName,lastName,email,gender,birthDate,smsConsent\n")
        for i in range(n):
            f.write(f"+91{7000000000 + i},First{i},Last{i},p{i}@example.com,female,1990-05-17,opted_in\n")


async def measure(url: str, name: str, path: Path, n: int) -> list[Row]:
    store, ids = open_store(url), Uuid7Ids()
    tenant = TenantId(ids.new())
    async with store.system() as s:
        await s.directory.create(
            Tenant(id=tenant, slug="bench", name="Bench", region="IN", timezone="UTC", created_at=datetime.now(UTC))
        )
    service = ImportService(work=store.work, clock=SystemClock())
    start = time.perf_counter()
    with path.open("rb") as file:
        outcome = await service.run(tenant, open_rows(file, path.name), dry_run=False)
    taken = time.perf_counter() - start
    await store.close()
    assert outcome.created == n
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Row(case=f"{name}: import of {n:,} rows", ours=n / taken, unit="rows/s", goal="≥ 50,000 rows/s or the limit"),
        Row(case=f"{name}: Python peak memory after that", ours=peak, unit="MB"),
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=200_000)
    options = parser.parse_args(arguments)
    path = Path(tempfile.mkdtemp(prefix="callboard-bench-")) / "people.csv"
    write_csv(path, options.rows)
    rows = asyncio.run(measure(postgres(), "PostgreSQL", path, options.rows))
    rows += asyncio.run(measure(sqlite(), "SQLite", path, options.rows))
    report("imports", rows, as_json=options.json)


if __name__ == "__main__":
    main()
