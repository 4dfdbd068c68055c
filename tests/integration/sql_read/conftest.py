"""A migrated store on SQLite and on PostgreSQL, a shop in it, and a way to fill tables by hand."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import psycopg
import pytest
from sqlalchemy import event, insert
from sqlalchemy.engine import make_url

from callboard.contacts.model import Consent, Contact
from callboard.ids import CampaignId, ContactId, RunId, TenantId
from callboard.tenants.model import Tenant
from callboard.values import Phone
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.queries.store import StoreReads
from callboard_adapters.sql.schema import migrate
from callboard_adapters.sql.work import SqlStore
from callboard_adapters.system import Uuid7Ids

SECRET_KEY = b"reading tests know this key 0123"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@attrs.define(kw_only=True)
class Shop:
    """One tenant of a store under test; rows go in through the tables, so that tests say exactly what is there."""

    store: SqlStore
    id: TenantId
    ids: Uuid7Ids
    people: int = 0

    @property
    def reads(self) -> StoreReads:
        return StoreReads(self.store)

    async def insert(self, table: Any, *rows: dict[str, Any]) -> None:
        async with self.store.work(self.id) as w:
            await w.connection.execute(insert(table), [{"tenant_id": self.id, **row} for row in rows])

    async def contact(self, phone: str | None = None, **fields: Any) -> Contact:
        self.people += 1
        given: dict[str, Any] = {
            "id": ContactId(self.ids.new()),
            "phone": Phone(phone) if phone else None,
            "consent": Consent.OPTED_IN,
            "created_at": AT + timedelta(seconds=self.people),
            "updated_at": AT,
        }
        contact = Contact(**(given | fields))
        async with self.store.work(self.id) as w:
            await w.contacts.add(contact)
        return contact

    async def campaign(self, name: str, **fields: Any) -> CampaignId:
        given: dict[str, Any] = {
            "id": self.ids.new(),
            "name": name,
            "message": "Hello",
            "audience": '"all"',
            "include_discount": False,
            "schedule_type": "immediate",
            "priority": "normal",
            "status": "sent",
            "rounds": 1,
            "created_at": AT,
            "updated_at": AT,
        }
        await self.insert(t.campaigns, given | fields)
        return CampaignId((given | fields)["id"])

    async def run(
        self, campaign: CampaignId, number: int = 1, counts: dict[tuple[date, str, str], int] | None = None
    ) -> RunId:
        """A run with its rollup: (day, state, reason) → n."""
        run = RunId(self.ids.new())
        counts = counts or {}
        row = {
            "id": run,
            "campaign_id": campaign,
            "number": number,
            "state": "done",
            "purpose": "marketing",
            "priority": "normal",
            "content": "{}",
            "recipients": sum(counts.values()),
            "created_at": AT,
        }
        await self.insert(t.runs, row)
        if counts:
            await self.insert(
                t.message_counts,
                *(
                    {"run_id": run, "day": day, "state": state, "reason": reason, "n": n}
                    for (day, state, reason), n in counts.items()
                ),
            )
        return run


@pytest.fixture(scope="session")
def read_sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sql_read") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def read_pg_url(new_pg_url: Callable[[], str]) -> str:
    """A database seen as a plain role: row-level security holds, and only grants allow."""
    url = new_pg_url()
    migrate(url)
    with psycopg.connect(_libpq(url), autocommit=True) as c:
        c.execute(
            "DO $$ BEGIN CREATE ROLE read_tester LOGIN PASSWORD 'x'; EXCEPTION WHEN duplicate_object THEN END $$;"
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO read_tester;"
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO read_tester"
        )
    return url


def _libpq(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("read_sqlite_template"), tmp_path / "read.db")
        url = f"sqlite:///{tmp_path / 'read.db'}"
    else:
        owner = request.getfixturevalue("read_pg_url")
        with psycopg.connect(_libpq(owner), autocommit=True) as c:
            c.execute(";".join(f'DELETE FROM "{table.name}"' for table in t.metadata.sorted_tables))
        url = make_url(owner).set(username="read_tester", password="x").render_as_string(hide_password=False)
    async with SqlStore.open(url, ids=Uuid7Ids(), secret_key=SECRET_KEY) as opened:
        yield opened


@pytest.fixture
def open_shop(store: SqlStore) -> Callable[..., Any]:
    """A new tenant of the store."""
    ids = Uuid7Ids()

    async def make(slug: str = "shop", *, region: str = "IN", timezone: str = "Asia/Kolkata") -> Shop:
        tenant = Tenant(
            id=TenantId(UUID(str(ids.new()))), slug=slug, name=slug, region=region, timezone=timezone, created_at=AT
        )
        async with store.system() as s:
            await s.directory.create(tenant)
        return Shop(store=store, id=tenant.id, ids=ids)

    return make


@pytest.fixture
async def shop(open_shop: Callable[..., Any]) -> Shop:
    made: Shop = await open_shop()
    return made


@pytest.fixture
def statements(store: SqlStore) -> list[str]:
    """Every statement the store sends from here on."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(store.engine.sync_engine, "before_cursor_execute", note)
    return sent
