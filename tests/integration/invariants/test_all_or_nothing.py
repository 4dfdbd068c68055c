"""State, recipients, credits and work move together or not at all, wherever the database refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.integration.invariants.street import Street

TABLES = ("runs", "messages", "chunks", "links", "outbox", "credit_entries")


@asynccontextmanager
async def refusing(shops: Street, table: str, when: str = "INSERT") -> AsyncIterator[None]:
    """Every ``when`` on ``table`` is an error of the database."""
    if shops.container.store.sqlite:
        await shops.sql(f"CREATE TRIGGER broken BEFORE {when} ON {table} BEGIN SELECT RAISE(ABORT, 'broken'); END")
        yield
        await shops.sql("DROP TRIGGER broken")
        return
    await shops.sql(
        "CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION 'broken'; END $$"
    )
    await shops.sql(f"CREATE TRIGGER broken BEFORE {when} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION broken()")
    yield
    await shops.sql(f"DROP TRIGGER broken ON {table}")


async def everything(shops: Street) -> dict[str, Any]:
    """What an enqueue or a cancel moves."""
    counts = {table: (await shops.sql(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES}
    counts["campaigns"] = sorted(await shops.sql("SELECT name, status FROM campaigns"))
    counts["balances"] = sorted(map(str, await shops.sql("SELECT tenant_id, balance FROM credit_accounts")))
    counts["states"] = sorted(await shops.sql("SELECT state, count(*) FROM messages GROUP BY state"))
    return counts


async def test_an_enqueue_that_breaks_anywhere_changes_nothing_and_can_be_tried_again(both: Street) -> None:
    await both.contacts(5)
    campaign = await both.campaign("breaks", message="See https://shop.example/")
    before = await everything(both)
    for table in TABLES:
        async with refusing(both, table):
            answer = await both.call("POST", f"/campaigns/{campaign}/enqueue")
        assert answer.status_code >= 400, table
        assert answer.json()["success"] is False
        assert "broken" not in answer.text
        assert await everything(both) == before, table
    async with refusing(both, "campaigns", "UPDATE"):
        assert (await both.call("POST", f"/campaigns/{campaign}/enqueue")).status_code >= 400
    assert await everything(both) == before
    assert (await both.enqueue(campaign))["queuedRecipients"] == 5
    await both.work()
    assert len(await both.received()) == 5
    await both.check_books()


@pytest.mark.parametrize("obstacle", ["nobody", "no credits"])
async def test_a_refused_enqueue_leaves_a_draft_that_can_be_sent_later(shops: Street, obstacle: str) -> None:
    if obstacle == "no credits":
        await shops.contacts(3)
        await shops.sql("UPDATE credit_accounts SET balance = 2")
    campaign = await shops.campaign("later", message="See https://shop.example/")
    before = await everything(shops)
    answer = await shops.call("POST", f"/campaigns/{campaign}/enqueue")
    expected = {"nobody": (400, "NO_RECIPIENTS"), "no credits": (402, "INSUFFICIENT_CREDITS")}[obstacle]
    assert (answer.status_code, answer.json()["code"]) == expected
    assert await everything(shops) == before
    assert (await shops.data("GET", f"/campaigns/{campaign}"))["status"] == "draft"
    if obstacle == "nobody":
        await shops.contacts(3)
    await shops.sql("UPDATE credit_accounts SET balance = 1000")
    assert (await shops.enqueue(campaign))["queuedRecipients"] == 3
    await shops.work()
    assert (await shops.data("GET", f"/campaigns/{campaign}"))["status"] == "sent"


async def test_a_cancel_that_breaks_leaves_the_campaign_sending_and_can_be_tried_again(both: Street) -> None:
    await both.contacts(4)
    campaign = await both.campaign("cancelled")
    await both.enqueue(campaign)
    before = await everything(both)
    for table, when in {"credit_entries": "INSERT", "messages": "UPDATE", "outbox": "INSERT"}.items():
        async with refusing(both, table, when):
            assert (await both.call("POST", f"/campaigns/{campaign}/cancel")).status_code >= 400, table
        assert await everything(both) == before, table
    answer = await both.data("POST", f"/campaigns/{campaign}/cancel")
    assert (answer["cancelledRecipients"], answer["creditsRefunded"]) == (4, 4)
    assert await both.credits() == 1_000
    await both.work()
    assert await both.received() == []
    await both.check_books()


async def test_an_outcome_and_its_refund_are_written_together_or_the_row_stays_unknown(both: Street) -> None:
    """The provider refused and the refund cannot be booked: no row may be failed with its credit lost."""
    await both.contacts(3)
    await both.fault(kind="reject", always=True)
    campaign = await both.campaign("refund")
    await both.enqueue(campaign)
    async with refusing(both, "credit_entries"):
        with pytest.raises(Exception, match="broken"):
            await both.worker.dispatch(lambda: False)
    assert await both.sql("SELECT DISTINCT state, credits FROM messages") == [("sending", 1)]
    await both.check_books()
    await both.sql("UPDATE chunks SET lease_until = created_at")
    await both.work()
    await both.work()
    assert await both.sql("SELECT DISTINCT state, credits FROM messages") == [("unknown", 1)]
    assert await both.received() == []  # not asked again either
    await both.check_books()


async def test_receipts_that_cannot_be_stored_are_an_error_and_a_repeat_counts(both: Street) -> None:
    await both.contacts(2)
    campaign = await both.campaign("reports")
    await both.enqueue(campaign)
    await both.work()
    reports = [{"messageId": e["provider_message_id"], "deliveryStatus": "Delivered"} for e in await both.received()]
    for table, when in {"messages": "UPDATE", "webhook_calls": "INSERT"}.items():
        async with refusing(both, table, when):
            assert (await both.hook("/webhooks/sms/delivery", reports)).status_code >= 500
        assert (await both.data("GET", f"/campaigns/{campaign}/metrics"))["delivered"] == 0
    assert (await both.hook("/webhooks/sms/delivery", reports)).status_code == 202
    assert (await both.data("GET", f"/campaigns/{campaign}/metrics"))["delivered"] == 2


async def test_parallel_spending_keeps_the_balance_the_sum_of_its_entries(both: Street) -> None:
    """Twenty enqueues with credits for ten, while grants arrive."""
    await both.contacts(10)
    await both.sql("UPDATE credit_accounts SET balance = 100")
    await both.sql("UPDATE credit_entries SET amount = 100")
    campaigns = [await both.campaign(f"c{i}") for i in range(20)]
    answers = await asyncio.gather(*(both.call("POST", f"/campaigns/{c}/enqueue") for c in campaigns))
    assert sorted(a.status_code for a in answers) == [200] * 10 + [402] * 10
    assert await both.credits() == 0
    await asyncio.gather(*(both.container.credits.grant(both.mine.tenant.id, 1) for _ in range(20)))
    assert await both.credits() == 20
    await both.check_books()
