"""A worker's steps on a real database: heartbeats, deliveries without hints, and tidying up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import func, insert, select

from callboard.contacts.messages import ContactsImported
from callboard.ids import RunId
from callboard.messages.messages import RunDrained
from callboard.tenants.model import Tenant
from callboard_adapters.memory.clock import ManualClock
from callboard_adapters.sql import tables as t
from callboard_app.bootstrap import Container, bootstrap, prepare
from callboard_app.settings import load


@pytest.fixture
async def container(tmp_path: Path) -> AsyncIterator[Container]:
    settings = load({"CALLBOARD_DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}"})
    async with bootstrap(settings, clock=ManualClock(datetime.now(UTC))) as container:
        await prepare(container)
        yield container


@pytest.fixture
async def shop(container: Container) -> Tenant:
    return await container.tenants.create(slug="shop", name="Shop")


def advance(container: Container, by: timedelta) -> None:
    assert isinstance(container.clock, ManualClock)
    container.clock.advance(by)


async def stored(container: Container) -> tuple[int, int]:
    """Events and deliveries that are kept."""
    async with container.store.engine.connect() as connection:
        return (
            await connection.scalar(select(func.count()).select_from(t.outbox)) or 0,
            await connection.scalar(select(func.count()).select_from(t.deliveries)) or 0,
        )


async def test_a_worker_is_alive_while_it_beats(container: Container) -> None:
    duties = container.duties("w1")
    assert await container.workers_alive() == []
    await duties.beat("w1")
    await container.duties("w2").beat("w2")
    assert await container.workers_alive() == ["w1", "w2"]
    advance(container, timedelta(seconds=15))
    await duties.beat("w1")
    advance(container, timedelta(seconds=15))
    assert await container.workers_alive() == ["w1"]  # the other one fell silent
    await duties.leave("w1")
    assert await container.workers_alive() == []


async def test_a_delivery_nobody_hinted_at_is_carried_out(container: Container, shop: Tenant) -> None:
    async with container.store.work(shop.id) as w:
        await w.outbox.add(RunDrained(run_id=RunId(uuid4()), campaign_id=None))
    duties = container.duties("w")
    assert await duties.relay() == 1
    assert await duties.deliver_due() == 1
    assert await duties.deliver_due() == 0
    async with container.store.system() as s:
        assert await s.deliveries.dead(limit=10) == []


async def test_tidying_takes_what_is_done_and_leaves_what_waits(container: Container, shop: Tenant) -> None:
    duties = container.duties("w")
    async with container.store.work(shop.id) as w:
        await w.outbox.add(ContactsImported(created=1, updated=0), RunDrained(run_id=RunId(uuid4()), campaign_id=None))
    await duties.relay()
    await duties.tidy()
    assert await stored(container) == (2, 1)  # a day old at least
    advance(container, timedelta(days=2))
    await duties.tidy()
    assert await stored(container) == (1, 1)  # nobody listens to the import; the other one still waits
    await duties.deliver_due()
    await duties.tidy()
    assert await stored(container) == (0, 0)


async def test_what_frequency_caps_count_is_kept_as_long_as_a_cap_can_ask(container: Container, shop: Tenant) -> None:
    async with container.store.engine.begin() as connection:
        values = {"tenant_id": shop.id, "phone": "+919876543210", "at": container.clock.now()}
        await connection.execute(insert(t.touches).values(values))

    async def kept() -> int:
        async with container.store.engine.connect() as connection:
            return await connection.scalar(select(func.count()).select_from(t.touches)) or 0

    advance(container, timedelta(days=30, hours=1))
    await container.duties("w").tidy()
    assert await kept() == 1
    advance(container, timedelta(days=1))
    await container.duties("w").tidy()
    assert await kept() == 0


async def test_metrics_count_messages_of_all_tenants(container: Container) -> None:
    assert dict(await container.messages_by_state()) == {}
