"""Scheduled fires once and recurring really recurs, however many tickers there are."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

from tests.integration.invariants.street import Street


def soon() -> str:
    return (datetime.now(UTC) + timedelta(seconds=1)).isoformat()


async def days_pass(shops: Street, days: int) -> None:
    """What is due in so many days is due now; the run before stays done."""
    sqlite = shops.container.store.sqlite
    for table, column in {"timers": "due_at", "campaigns": "next_run_at"}.items():
        if sqlite:
            earlier = f"strftime('%Y-%m-%d %H:%M:%f', {column}, '-{days} days') || '000'"
        else:
            earlier = f"{column} - interval '{days} days'"
        await shops.sql(f"UPDATE {table} SET {column} = {earlier} WHERE {column} IS NOT NULL")


async def test_a_scheduled_campaign_starts_by_itself_once_with_racing_tickers(both: Street) -> None:
    await both.contacts(5)
    campaign = await both.campaign("once", scheduleType="scheduled", scheduleAt=soon())
    assert (await both.data("GET", f"/campaigns/{campaign}"))["status"] == "scheduled"
    await both.work()
    assert await both.received() == []
    await asyncio.sleep(1.2)
    await asyncio.gather(*(both.worker.tick() for _ in range(6)))
    await asyncio.gather(*(both.worker.dispatch(lambda: False) for _ in range(3)))
    await both.work()
    assert set(Counter(e["to"] for e in await both.received()).values()) == {1}
    assert len(await both.received()) == 5
    assert (await both.data("GET", f"/campaigns/{campaign}"))["status"] == "sent"
    assert (await both.data("GET", f"/campaigns/{campaign}/runs"))["total"] == 1
    assert await both.credits() == 995


async def test_a_recurring_campaign_makes_a_run_of_its_own_each_time(both: Street) -> None:
    await both.contacts(3)
    campaign = await both.campaign("often", scheduleType="recurring", recurringDays=7, scheduleAt=soon())
    await asyncio.sleep(1.2)
    for round_number in (1, 2, 3):
        await asyncio.gather(*(both.worker.tick() for _ in range(4)))
        await both.work()
        runs = await both.data("GET", f"/campaigns/{campaign}/runs")
        assert [run["recipients"] for run in runs["runs"]] == [3, 3, 4][:round_number]
        row = await both.data("GET", f"/campaigns/{campaign}")
        assert (row["status"], row["sentCount"]) == ("scheduled", [3, 6, 10][round_number - 1])
        assert row["nextRunAt"] > datetime.now(UTC).isoformat()
        if round_number == 2:
            await both.contacts(1, first=9_711_111_111)
        await both.work()
        assert len(await both.received()) == row["sentCount"]  # not before its time
        await days_pass(both, 7)
    await both.check_books()


async def test_a_round_beyond_its_grace_is_reported_and_not_sent(both: Street) -> None:
    await both.contacts(2)
    campaign = await both.campaign("late", scheduleType="scheduled", scheduleAt=soon())
    await days_pass(both, 1)
    await both.work()
    row = await both.data("GET", f"/campaigns/{campaign}")
    assert row["status"] == "failed"
    assert await both.received() == []
    assert await both.credits() == 1_000
