"""Lists and the dashboard over a million contacts and a million messages: p50 and p99 of each, on both databases.

    python -m bench.reads [--database sqlite postgres] [--contacts N] [--messages N] [--rounds N] [--json]

The rows are made inside the database (generate_series, recursive CTE). PostgreSQL is the one from pip unless
``TEST_DATABASE_URL`` names a server; it is vacuumed and analysed after the fill, as autovacuum does within minutes.
SQLite is left as the fill left it. Goal: p99 of a page with its total below 50 ms (performance.md section 6).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import attrs
from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.engine import make_url

from bench.common import open_store, postgres, sqlite
from callboard.campaigns.model import CampaignStatus
from callboard.ids import CampaignId, SegmentId, TenantId
from callboard.paging import PageRequest
from callboard.segments.model import Segment, SegmentKind
from callboard.segments.rules import SYSTEM_SEGMENTS
from callboard.tenants.model import Tenant
from callboard_adapters.sql.queries.store import StoreReads
from callboard_adapters.sql.work import SqlStore

TODAY = date(2026, 11, 20)
ZONE = "Asia/Kolkata"
CAMPAIGNS = 100
GOAL_MS = 50
_SYLLABLES = ("a", "sha", "ra", "vi", "su", "ni", "ta", "pri", "ya", "ki", "ran", "ar", "jun", "me", "lo", "di")


def names(n: int) -> list[str]:
    """``n`` different names of two or three syllables."""
    draw = random.Random(7)
    made: set[str] = set()
    while len(made) < n:
        made.add("".join(draw.choices(_SYLLABLES, k=draw.choice((2, 3)))).title())
    return sorted(made)


NAMES = names(400)

# --- the fill -----------------------------------------------------------------------------------------------------

_SERIES = {
    "postgres": "generate_series(1::bigint, {n}) AS s(i)",
    "sqlite": "(WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {n}) SELECT i FROM s) s",
}
_ID = {
    "postgres": "(lpad(to_hex({base} + {i}), 12, '0') || '7000800000000000000{kind}')::uuid",
    "sqlite": "printf('%012x7000800000000000000{kind}', {base} + {i})",
}
_AT = {
    "postgres": "timestamptz '2026-11-01 00:00:00+00' + ({i}) * interval '1 second'",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', '2026-11-01 00:00:00', ({i}) || ' seconds')",
}
_DAY = {"postgres": "(date '2026-11-20' - ({i})::int)", "sqlite": "date('2026-11-20', '-' || ({i}) || ' days')"}
_BORN = {"postgres": "(date '1950-01-01' + ({i})::int)", "sqlite": "date('1950-01-01', '+' || ({i}) || ' days')"}
_DIGITS = {"postgres": "lpad(({i})::text, 8, '0')", "sqlite": "printf('%08d', {i})"}
_NO = {"postgres": "false", "sqlite": "0"}


def fill_statements(kind: str, tenant: TenantId, *, contacts: int, messages: int, base: int) -> Iterator[str]:
    """Everything a tenant has, as ``INSERT … SELECT``; ``base`` keeps the ids of two tenants apart."""
    t = f"'{tenant}'" if kind == "postgres" else f"'{tenant.hex}'"
    t = f"{t}::uuid" if kind == "postgres" else t

    def series(n: int) -> str:
        return _SERIES[kind].format(n=n)

    def made(what: dict[str, str], i: str) -> str:
        return what[kind].format(i=i)

    def new_id(i: str, digit: int) -> str:
        return _ID[kind].format(base=base, i=i, kind=digit)

    phone = "'+9198' || " + made(_DIGITS, "(i * 7919) % 100000000")
    gender = "CASE i % 3 WHEN 0 THEN 'male' WHEN 1 THEN 'female' END"
    born = f"CASE WHEN i % 10 < 8 THEN {made(_BORN, '(i * 31) % 22000')} END"
    consent = "CASE WHEN i % 20 = 0 THEN 'opted_out' WHEN i % 10 = 1 THEN 'unknown' ELSE 'opted_in' END"
    yield (
        "INSERT INTO contacts (id, tenant_id, phone, phone_valid, first_name, last_name, email, gender, birth_date,"
        " tags, consent, created_at, updated_at, deleted_at)"
        f" SELECT {new_id('i', 1)}, {t}, {phone}, NOT {_NO[kind]}, f.name, l.name, 'user' || i || '@shop.example',"
        f" {gender}, {born}, '', {consent}, {made(_AT, 'i')}, {made(_AT, 'i')},"
        f" CASE WHEN i % 100 = 99 THEN {made(_AT, 'i')} END"
        f" FROM {series(contacts)} JOIN bench_names f ON f.k = i % 400 JOIN bench_names l ON l.k = (i / 400) % 400"
    )
    yield (
        f"INSERT INTO tenant_counters (tenant_id, name, n) SELECT {t}, 'contacts', count(*) FROM contacts"
        f" WHERE tenant_id = {t} AND deleted_at IS NULL"
    )
    yield (
        "INSERT INTO suppressions (tenant_id, phone, reason, at)"
        f" SELECT {t}, phone, 'complaint', created_at FROM contacts WHERE tenant_id = {t} AND {_every(kind)}"
    )
    yield (
        "INSERT INTO consent_records (tenant_id, contact_id, phone, consent, source, at)"
        f" SELECT {t}, id, phone, consent, 'import', created_at FROM contacts"
        f" WHERE tenant_id = {t} AND consent <> 'unknown'"
    )
    yield (
        "INSERT INTO consent_records (tenant_id, phone, consent, source, at)"
        f" SELECT {t}, {phone}, 'opted_out', 'unsubscribe_link', {made(_AT, 'i * 170')} FROM {series(10_000)}"
    )
    yield (
        "INSERT INTO campaigns (id, tenant_id, name, message, audience, include_discount, schedule_type, priority,"
        " status, rounds, created_at, updated_at)"
        f" SELECT {new_id('i', 2)}, {t}, 'Campaign ' || i, 'Hello', '\"all\"', {_NO[kind]}, 'immediate', 'normal',"
        f" 'sent', 1, {made(_AT, 'i * 16000')}, {made(_AT, 'i * 16000')} FROM {series(CAMPAIGNS)}"
    )
    each = messages // CAMPAIGNS
    yield (
        "INSERT INTO runs (id, tenant_id, campaign_id, number, state, purpose, priority, content, recipients,"
        " created_at)"
        f" SELECT {new_id('i', 3)}, {t}, {new_id('i', 2)}, 1, 'done', 'marketing', 'normal', '{{}}', {each},"
        f" {made(_AT, 'i * 16000')} FROM {series(CAMPAIGNS)}"
    )
    state = (
        "CASE WHEN i % 100 < 88 THEN 'delivered' WHEN i % 100 < 93 THEN 'sent' WHEN i % 100 < 97 THEN 'failed'"
        " WHEN i % 100 < 99 THEN 'skipped' ELSE 'unknown' END"
    )
    reason = (
        "CASE WHEN i % 100 < 93 THEN 'cleared' WHEN i % 100 < 97 THEN 'undelivered' WHEN i % 100 < 99"
        " THEN 'opted_out' ELSE 'no_answer' END"
    )
    yield (
        "INSERT INTO messages (tenant_id, run_id, seq, phone, first_name, state, reason, provider_message_id, attempt,"
        " credits, accepted_at, failed_at)"
        f" SELECT {t}, {new_id(f'(i - 1) / {each} + 1', 3)}, (i - 1) % {each} + 1, {phone}, 'Asha', {state}, {reason},"
        f" CASE WHEN i % 100 < 97 THEN 'p' || i END, 1, 1, CASE WHEN i % 100 < 97 THEN {made(_AT, 'i')} END,"
        f" CASE WHEN i % 100 >= 93 AND i % 100 < 97 THEN {made(_AT, 'i')} END FROM {series(each * CAMPAIGNS)}"
    )
    yield (
        "INSERT INTO message_counts (tenant_id, run_id, day, state, reason, n)"
        f" SELECT {t}, run_id, {made(_DAY, 'seq % 3')}, state, reason, count(*) FROM messages WHERE tenant_id = {t}"
        " GROUP BY 2, 3, 4, 5"
    )
    yield (
        "INSERT INTO credit_entries (tenant_id, key, kind, amount, run_id, at)"
        f" SELECT {t}, 'debit:' || id, 'debit', -recipients, id, created_at FROM runs WHERE tenant_id = {t}"
    )
    yield (
        "INSERT INTO credit_entries (tenant_id, key, kind, amount, run_id, at)"
        f" SELECT {t}, 'refund:' || i, 'refund', 1, NULL, {made(_AT, 'i * 30')} FROM {series(50_000)}"
    )
    yield (
        "INSERT INTO links (token, tenant_id, url, campaign_id, created_at)"
        f" SELECT 'token' || {base} || '-' || i, {t}, 'https://shop.example', {new_id('i', 2)}, {made(_AT, 'i')}"
        f" FROM {series(CAMPAIGNS)}"
    )
    yield (
        "INSERT INTO link_clicks (tenant_id, token, day, n)"
        f" SELECT {t}, 'token' || {base} || '-' || (i % 100 + 1), {made(_DAY, 'i / 100')}, i FROM {series(1_000)}"
    )


def _every(kind: str) -> str:
    return "substr(phone, 11, 2) = '77' AND deleted_at IS NULL"


async def fill(store: SqlStore, kind: str, *, contacts: int, messages: int) -> TenantId:
    """Two tenants of this size would only double the fill: the second one has a tenth."""
    big, small = (TenantId(uuid.UUID(int=n << 64 | 7)) for n in (1, 2))
    async with store.system() as s:
        for tenant, slug in ((big, "big"), (small, "small")):
            at = datetime(2026, 11, 1, tzinfo=UTC)
            await s.directory.create(Tenant(id=tenant, slug=slug, name=slug, region="IN", timezone=ZONE, created_at=at))
    async with store.engine.begin() as c:
        await c.execute(text("CREATE TABLE bench_names (k integer PRIMARY KEY, name text NOT NULL)"))
        rows = [{"k": k, "name": name} for k, name in enumerate(NAMES)]
        await c.execute(text("INSERT INTO bench_names VALUES (:k, :name)"), rows)
    for tenant, share, base in ((big, 1, 1_760_000_000_000), (small, 10, 1_770_000_000_000)):
        for statement in fill_statements(
            kind, tenant, contacts=contacts // share, messages=messages // share, base=base
        ):
            async with store.engine.begin() as c:
                if kind == "postgres":
                    await c.execute(text("SELECT set_config('app.scope', 'system', true)"))
                await c.execute(text(statement))
    if kind == "postgres":
        async with store.engine.connect() as c:
            await (await c.execution_options(isolation_level="AUTOCOMMIT")).execute(text("VACUUM ANALYZE"))
    return big


# --- the cases ----------------------------------------------------------------------------------------------------


@attrs.frozen
class Case:
    """A read to measure. ``goal`` says whether the 50 ms are meant for it."""

    name: str
    call: Callable[[random.Random], Awaitable[Any]]
    goal: bool = True


def cases(reads: StoreReads, campaigns: Sequence[CampaignId], tenant: TenantId, contacts: int) -> list[Case]:
    """Lists at their start, middle and end, every kind of search, the dashboard and its neighbours."""
    live = contacts - contacts // 100
    at = datetime(2026, 11, 1, tzinfo=UTC)
    segments = [
        Segment(
            id=SegmentId(uuid.uuid4()),
            key=key,
            name=name,
            kind=SegmentKind.SYSTEM,
            criteria=criteria,
            created_at=at,
            updated_at=at,
        )
        for key, name, criteria in SYSTEM_SEGMENTS
    ]

    def page(share: float, size: int = 20) -> Callable[[random.Random], Awaitable[Any]]:
        last = max(1, live // size)
        return lambda r: reads.contacts_page(
            tenant, PageRequest(number=max(1, int(last * share) - r.randrange(5)), size=size)
        )

    def search(term: Callable[[random.Random, int], str]) -> Callable[[random.Random], Awaitable[Any]]:
        return lambda r: reads.contacts_page(tenant, PageRequest(), search=term(r, r.randrange(1, contacts)))

    def digits(i: int) -> str:
        return f"98{i * 7919 % 100_000_000:08}"

    return [
        Case("contacts: first page", page(0)),
        Case("contacts: first page of 100", page(0, 100)),
        Case("contacts: page at 25 %", page(0.25)),
        Case("contacts: page at 50 % (worst)", page(0.5)),
        Case("contacts: last page", page(1)),
        Case("contacts: search phone", search(lambda _r, i: f"+91 {digits(i)}")),
        Case("contacts: search last 5 digits", search(lambda _r, i: digits(i)[-5:])),
        Case("contacts: search first 6 digits", search(lambda _r, i: digits(i)[:6])),
        Case("contacts: search a phone nobody has", search(lambda _r, i: f"+91 77{i:08}")),
        Case("contacts: search email", search(lambda _r, i: f"user{i}@shop.example")),
        Case("contacts: search name", search(lambda r, _i: r.choice(NAMES))),
        Case("contacts: search first and last name", search(lambda r, _i: f"{r.choice(NAMES)} {r.choice(NAMES)}")),
        Case("contacts: search inside a name", search(lambda r, _i: r.choice(NAMES)[1:] + "x"), goal=False),
        Case("campaigns: first page", lambda _r: reads.campaigns_page(tenant, PageRequest())),
        Case(
            "campaigns: all, by name, one status",
            lambda _r: reads.campaigns_page(
                tenant,
                PageRequest(size=100),
                status=CampaignStatus.SENT,
                sort_by="name",
                sort_order="asc",
            ),
        ),
        Case("campaign: one row", lambda r: reads.campaign_row(tenant, r.choice(campaigns))),
        Case("campaign: progress", lambda r: reads.run_progress(tenant, r.choice(campaigns))),
        Case(
            "campaign: failed recipients",
            lambda r: reads.failed_recipients(tenant, r.choice(campaigns), PageRequest(number=r.randrange(1, 20))),
        ),
        Case("campaigns: summary", lambda _r: reads.stats_summary(tenant)),
        Case("dashboard", lambda _r: reads.dashboard(tenant, today=TODAY, timezone=ZONE)),
        Case(
            "segments: counts of all eight",
            lambda _r: reads.segment_counts(tenant, segments, today=TODAY),
            goal=False,
        ),
    ]


async def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Milliseconds of one call after another."""
    draw = random.Random(1)
    times = []
    for warm in range(rounds + 3):
        start = time.perf_counter()
        await case.call(draw)
        if warm >= 3:
            times.append((time.perf_counter() - start) * 1000)
    times.sort()
    return {
        "case": case.name,
        "p50_ms": round(times[len(times) // 2], 2),
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 2),
        "goal_ms": GOAL_MS if case.goal else None,
    }


async def run(kind: str, url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fill one database and measure it; PostgreSQL as a plain role, behind row-level security."""
    start = time.perf_counter()
    async with open_store(url) as store:
        tenant = await fill(store, kind, contacts=arguments.contacts, messages=arguments.messages)
        filled = time.perf_counter() - start
        async with store.engine.connect() as connection:
            found = await connection.execute(text("SELECT id FROM campaigns ORDER BY id LIMIT 100"))
            campaigns = [CampaignId(x if isinstance(x, uuid.UUID) else uuid.UUID(x)) for x in found.scalars()]
        reader = url if kind == "sqlite" else await plain_role(store, url)
    async with open_store(reader) as store:
        listed = cases(StoreReads(store), campaigns, tenant, arguments.contacts)
        results = [await measure(case, arguments.rounds) for case in listed]
    return {"database": kind, "fill_s": round(filled, 1), "results": results}


async def plain_role(store: SqlStore, url: str) -> str:
    """The same database as a role that owns nothing: a superuser passes row-level security and would be faster."""
    async with store.engine.begin() as c:
        for statement in (
            "DO $$ BEGIN CREATE ROLE bench_reader LOGIN PASSWORD 'bench'; EXCEPTION WHEN duplicate_object THEN END $$",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO bench_reader",
        ):
            await c.exec_driver_sql(statement)
    return make_url(url).set(username="bench_reader", password="bench").render_as_string(hide_password=False)


def main(options: Sequence[str] = ()) -> None:
    """Measure both databases, or the one that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", nargs="+", choices=["sqlite", "postgres"], default=["postgres", "sqlite"])
    parser.add_argument("--contacts", type=int, default=1_000_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(options)
    reports = []
    for kind in arguments.database:
        report = asyncio.run(run(kind, sqlite() if kind == "sqlite" else postgres(), arguments))
        reports.append(report)
        if not arguments.json:
            show(report, arguments)
    if arguments.json:
        print(json.dumps({"contacts": arguments.contacts, "messages": arguments.messages, "reports": reports}))


def show(report: dict[str, Any], arguments: argparse.Namespace) -> None:
    """One database's figures as a table."""
    table = Table(
        title=f"{report['database']}: {arguments.contacts:,} contacts, {arguments.messages:,} messages",
        caption=f"filled in {report['fill_s']} s; {arguments.rounds} calls each, one after another",
    )
    for column in ("read", "p50 ms", "p99 ms", "goal ms", ""):
        table.add_column(column, justify="left" if column in {"read", ""} else "right")
    for row in report["results"]:
        over = "over" if row["goal_ms"] and row["p99_ms"] > row["goal_ms"] else ""
        figures = (f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", str(row["goal_ms"] or "-"))
        table.add_row(row["case"], *figures, over)
    Console(width=100).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
