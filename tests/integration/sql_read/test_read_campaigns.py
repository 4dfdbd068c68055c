"""Campaign lists, progress, failed recipients and the figures of the dashboard."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import attrs
import pytest
from tests.integration.sql_read.conftest import AT, Shop

from callboard.campaigns.model import CampaignStatus, Everybody
from callboard.contacts.model import Consent, Gender
from callboard.ids import CampaignId, MessageId, SegmentId
from callboard.messages.model import Reason, RunState, State
from callboard.paging import PageRequest
from callboard.segments.model import (
    AgeBetween,
    AllOf,
    Criteria,
    GenderIs,
    Segment,
    SegmentKind,
)
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.queries.model import CreditsUsed, DeliveryRate

TODAY = date(2026, 3, 10)
ZONE = "Asia/Kolkata"
UNDATED = t.UNDATED


def day(back: int) -> date:
    return TODAY - timedelta(days=back)


async def names(shop: Shop, **query: Any) -> list[str]:
    page = await shop.reads.campaigns_page(shop.id, PageRequest(size=50), **query)
    assert page.total == len(page.items)
    return [row.campaign.name for row in page.items]


async def test_campaigns_are_sorted_filtered_and_paged_in_a_total_order(shop: Shop) -> None:
    later = AT + timedelta(hours=1)
    await shop.campaign("b", created_at=AT, updated_at=later, schedule_at=later, status="scheduled")
    await shop.campaign("a", created_at=later, updated_at=AT, schedule_at=AT, status="scheduled")
    await shop.campaign("c", created_at=later, updated_at=later, status="draft")
    assert await names(shop) == ["c", "a", "b"]
    assert await names(shop, sort_order="asc") == ["b", "a", "c"]
    assert await names(shop, sort_by="name", sort_order="asc") == ["a", "b", "c"]
    assert await names(shop, sort_by="updated_at") == ["c", "b", "a"]
    assert await names(shop, sort_by="schedule_at") == ["b", "a", "c"]
    assert await names(shop, sort_by="schedule_at", sort_order="asc") == ["a", "b", "c"]
    assert await names(shop, status=CampaignStatus.SCHEDULED) == ["a", "b"]
    assert await names(shop, status=CampaignStatus.FAILED) == []
    pages = [await shop.reads.campaigns_page(shop.id, PageRequest(number=n, size=2)) for n in (1, 2, 3)]
    assert [[row.campaign.name for row in page.items] for page in pages] == [["c", "a"], ["b"], []]
    assert {page.total for page in pages} == {3}


async def test_a_row_sums_all_runs_and_clicks_of_its_campaign_only(shop: Shop) -> None:
    sale = await shop.campaign("sale")
    other = await shop.campaign("other", created_at=AT - timedelta(days=1))
    await shop.run(
        sale,
        1,
        {
            (day(1), "delivered", "cleared"): 5,
            (day(1), "accepted", "cleared"): 2,
            (day(1), "failed", "refused"): 3,
            (UNDATED, "queued", ""): 0,
            (UNDATED, "skipped", "opted_out"): 1,
        },
    )
    await shop.run(sale, 2, {(day(0), "delivered", "cleared"): 4, (UNDATED, "queued", ""): 6})
    await shop.run(other, 1, {(day(0), "sent", "cleared"): 100})
    links = [("a", sale), ("b", sale), ("c", other)]
    fixed = {"url": "https://x.example", "created_at": AT}
    await shop.insert(t.links, *({"token": token, "campaign_id": of, **fixed} for token, of in links))
    clicks = [("a", day(0), 2), ("a", day(1), 3), ("b", day(0), 1), ("c", day(0), 40)]
    await shop.insert(t.link_clicks, *({"token": token, "day": on, "n": n} for token, on, n in clicks))

    row = await shop.reads.campaign_row(shop.id, sale)
    assert row is not None
    assert row.campaign.audience == Everybody()
    assert row.tally.by_state == {
        State.DELIVERED: 9,
        State.ACCEPTED: 2,
        State.FAILED: 3,
        State.SKIPPED: 1,
        State.QUEUED: 6,
    }
    assert row.tally.by_reason == {"refused": 3, "opted_out": 1}
    assert row.clicks == 6
    page = await shop.reads.campaigns_page(shop.id, PageRequest())
    assert page.items[0] == row
    assert page.items[1].tally.by_state == {State.SENT: 100}
    assert page.items[1].clicks == 40
    assert await shop.reads.campaign_row(shop.id, CampaignId(shop.ids.new())) is None
    summary = await shop.reads.stats_summary(shop.id)
    assert (summary.total, summary.campaigns) == (2, {CampaignStatus.SENT: 2})
    assert summary.tally.by_state == {**row.tally.by_state, State.SENT: 100}


async def test_progress_is_that_of_the_newest_run(shop: Shop) -> None:
    campaign = await shop.campaign("sale")
    assert await shop.reads.run_progress(shop.id, campaign) is None
    await shop.run(campaign, 1, {(day(1), "failed", "refused"): 3})
    second = await shop.run(campaign, 2, {(UNDATED, "queued", ""): 2, (day(0), "sent", "cleared"): 1})
    progress = await shop.reads.run_progress(shop.id, campaign)
    assert progress is not None
    assert (progress.run_id, progress.number, progress.state, progress.recipients) == (second, 2, RunState.DONE, 3)
    assert progress.tally.by_state == {State.QUEUED: 2, State.SENT: 1}


async def failed_run(shop: Shop, campaign: CampaignId, number: int, failed: int, later_delivered: int = 0) -> Any:
    counts = {(day(0), "failed", "undelivered"): failed, (day(0), "delivered", "cleared"): later_delivered + 2}
    run = await shop.run(campaign, number, counts)
    states = ["failed"] * failed + ["delivered"] * (later_delivered + 2)
    rows = [
        {
            "run_id": run,
            "seq": seq,
            "phone": f"+9198{number:04}{seq:04}",
            "state": state,
            "reason": "undelivered" if state == "failed" else "cleared",
            "provider_code": "E7" if state == "failed" else None,
            "attempt": 1,
            "credits": 1,
            "accepted_at": AT if seq % 2 else None,
            "failed_at": AT if seq <= failed + later_delivered else None,
        }
        for seq, state in enumerate(states, 1)
    ]
    await shop.insert(t.messages, *rows)
    return run


async def test_failed_recipients_are_paged_over_all_runs(shop: Shop) -> None:
    campaign = await shop.campaign("sale")
    one = await failed_run(shop, campaign, 1, 5, later_delivered=2)
    two = await failed_run(shop, campaign, 2, 4)
    await failed_run(shop, await shop.campaign("other"), 1, 3)
    expected = [MessageId(one, n) for n in range(1, 6)] + [MessageId(two, n) for n in range(1, 5)]
    for size in (1, 2, 3, 4, 5, 9, 100):
        got = []
        for number in range(1, 11):
            page = await shop.reads.failed_recipients(shop.id, campaign, PageRequest(number=number, size=size))
            assert page.total == 9
            got += [row.id for row in page.items]
        assert got == expected, size
    first = (await shop.reads.failed_recipients(shop.id, campaign, PageRequest())).items[0]
    assert (first.phone, first.reason, first.provider_code) == ("+919800010001", Reason.UNDELIVERED, "E7")
    assert (first.accepted, first.failed_at, first.attempt) == (True, AT, 1)
    assert (await shop.reads.failed_recipients(shop.id, CampaignId(shop.ids.new()), PageRequest())).total == 0


async def test_segment_counts_are_eligible_counts(shop: Shop) -> None:
    await shop.contact("+919800000001", gender=Gender.MALE, birth_date=date(2000, 3, 10))
    await shop.contact("+919800000002", gender=Gender.MALE, birth_date=date(2001, 3, 11))
    suppressed = await shop.contact("+919800000003", gender=Gender.MALE, birth_date=date(2000, 3, 10))
    await shop.contact("+919800000004", gender=Gender.MALE, consent=Consent.OPTED_OUT)
    await shop.contact("+919800000005", gender=Gender.MALE, consent=Consent.UNKNOWN)
    await shop.contact(None, gender=Gender.MALE)
    gone = await shop.contact("+919800000006", gender=Gender.MALE)
    member = await shop.contact("+919800000007")
    await shop.insert(
        t.suppressions,
        {"phone": "+919800000003", "reason": "complaint", "at": AT},
        {"phone": "+919800000099", "reason": "complaint", "at": AT},
    )

    def segment(key: str, criteria: Criteria | None) -> Segment:
        return Segment(
            id=SegmentId(shop.ids.new()),
            key=key,
            name=key,
            kind=SegmentKind.CUSTOM,
            criteria=criteria,
            created_at=AT,
            updated_at=AT,
        )

    segments = [
        segment("m", GenderIs(gender=Gender.MALE)),
        segment("a", AgeBetween(gte=26)),
        segment("e", AllOf()),
        segment("l", None),
    ]
    async with shop.store.work(shop.id) as w:
        await w.contacts.save(attrs.evolve(gone, deleted_at=AT))
        for each in segments:
            await w.segments.add(each)
        assert await w.segments.add_members(segments[3].id, [member.id, suppressed.id, gone.id]) == 2
    counts = await shop.reads.segment_counts(shop.id, segments, today=TODAY)
    assert [counts[each.id] for each in segments] == [2, 1, 3, 1]
    assert await shop.reads.segment_counts(shop.id, [], today=TODAY) == {}


async def fill_dashboard(shop: Shop, factor: int = 1) -> list[CampaignId]:
    campaigns = [await shop.campaign(f"c{n}") for n in range(7)]
    for n, campaign in enumerate(campaigns[:6]):
        await shop.run(campaign, 1, {(day(30), "delivered", "cleared"): factor * (n + 1)})
    await shop.run(
        campaigns[0],
        2,
        {
            (day(0), "delivered", "cleared"): factor * 40,
            (day(0), "read", "cleared"): factor * 20,
            (day(0), "sent", "cleared"): factor * 3,
            (day(0), "failed", "refused"): factor * 2,
            (day(6), "accepted", "cleared"): factor * 10,
            (day(6), "failed", "refused"): factor * 4,
            (day(7), "delivered", "cleared"): factor * 1000,
            (UNDATED, "queued", ""): factor * 9,
            (UNDATED, "unknown", "no_answer"): factor * 1,
        },
    )
    automation = {"name": "x", "trigger": "welcome", "message": "m", "created_at": AT, "updated_at": AT}
    await shop.insert(t.automations, *({"id": shop.ids.new(), "active": n < 2, **automation} for n in range(3)))
    # midnight in Kolkata is 18:30 UTC of the day before
    midnight = datetime(2026, 3, 9, 18, 30, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    entries = [
        ("debit", -100 * factor, midnight),  # first moment of today
        ("debit", -30 * factor, midnight - tick),  # last moment of yesterday
        ("debit", -7 * factor, midnight - timedelta(days=6)),  # first moment of the first day
        ("debit", -5000, midnight - timedelta(days=6) - tick),
        ("debit", -9000, midnight + timedelta(days=1)),  # tomorrow
        ("refund", 50, midnight),
        ("grant", 5, midnight),
    ]
    await shop.insert(
        t.credit_entries,
        *({"key": f"k{n}", "kind": kind, "amount": amount, "at": at} for n, (kind, amount, at) in enumerate(entries)),
    )
    records = [
        ("opted_out", "unsubscribe_link", midnight),
        ("opted_out", "inbound", midnight - timedelta(days=6)),
        ("opted_out", "inbound", midnight - timedelta(days=6) - tick),
        ("opted_out", "import", midnight),
        ("opted_in", "api", midnight),
    ]
    await shop.insert(
        t.consent_records,
        *(
            {"phone": f"+91980000000{n}", "consent": consent, "source": source, "at": at}
            for n, (consent, source, at) in enumerate(records)
        ),
    )
    for n in range(factor):
        await shop.contact(f"+9198000000{n:02}")
    return campaigns


async def test_the_dashboard_adds_up_in_the_tenants_zone(shop: Shop) -> None:
    campaigns = await fill_dashboard(shop, 2)
    async with shop.store.work(shop.id) as w:
        await w.connection.execute(t.credit_accounts.update().values(balance=777))
    board = await shop.reads.dashboard(shop.id, today=TODAY, timezone=ZONE)
    assert (board.credits, board.total_contacts, board.total_campaigns, board.active_automations) == (777, 2, 7, 2)
    assert board.total_messages_sent == 2 * (21 + 63 + 10 + 1000)
    week = board.last_7_days
    assert (week.sent, week.delivered, week.failed, week.unsubscribes) == (146, 120, 12, 2)
    assert board.delivery_rate_trend == (
        DeliveryRate(day=day(6), delivered_rate=0.0),
        DeliveryRate(day=day(0), delivered_rate=95.2),
    )
    debits = {day(6): 14, day(1): 60, day(0): 200}
    assert board.credits_usage == tuple(
        CreditsUsed(day=day(back), credits_debited=debits.get(day(back), 0)) for back in range(6, -1, -1)
    )
    assert [top.id for top in board.top_campaigns] == [campaigns[n] for n in (0, 5, 4, 3, 2)]
    best = board.top_campaigns[0]
    assert (best.name, best.created_at, best.tally.accepted, best.tally[State.FAILED]) == ("c0", AT, 2148, 12)


async def test_an_empty_tenant_has_an_empty_dashboard(shop: Shop) -> None:
    board = await shop.reads.dashboard(shop.id, today=TODAY, timezone="Pacific/Auckland")
    assert (board.credits, board.total_contacts, board.total_campaigns, board.total_messages_sent) == (0, 0, 0, 0)
    assert board.top_campaigns == ()
    assert board.delivery_rate_trend == ()
    assert [used.credits_debited for used in board.credits_usage] == [0] * 7
    assert (board.last_7_days.sent, board.last_7_days.unsubscribes) == (0, 0)


async def test_two_identical_shops_have_their_own_figures(open_shop: Any) -> None:
    one, two = await open_shop("one"), await open_shop("two")
    mine, theirs = await fill_dashboard(one), await fill_dashboard(two)
    boards = [await each.reads.dashboard(each.id, today=TODAY, timezone=ZONE) for each in (one, two)]
    assert boards[0].last_7_days == boards[1].last_7_days
    assert boards[0].total_messages_sent == 1094
    assert {top.id for top in boards[0].top_campaigns} <= set(mine)
    assert {top.id for top in boards[1].top_campaigns} <= set(theirs)
    page = await one.reads.campaigns_page(one.id, PageRequest())
    assert {row.campaign.id for row in page.items} == set(mine)
    assert (await one.reads.stats_summary(one.id)).total == 7
    foreign = theirs[0]
    assert await one.reads.campaign_row(one.id, foreign) is None
    assert await one.reads.run_progress(one.id, foreign) is None
    assert (await one.reads.failed_recipients(one.id, foreign, PageRequest())).total == 0


async def test_the_number_of_statements_does_not_grow_with_the_rows(shop: Shop, statements: list[str]) -> None:
    async def count() -> list[int]:
        counts = []
        for call in (
            shop.reads.dashboard(shop.id, today=TODAY, timezone=ZONE),
            shop.reads.campaigns_page(shop.id, PageRequest(size=100)),
            shop.reads.stats_summary(shop.id),
        ):
            statements.clear()
            await call
            counts.append(len(statements))
        return counts

    await fill_dashboard(shop)
    few = await count()
    for n in range(20):
        campaign = await shop.campaign(f"more {n}")
        await shop.run(campaign, 1, {(day(n), "delivered", "cleared"): n + 1})
    assert await count() == few
    assert max(few) <= 6


@pytest.mark.parametrize("size", [2, 40])
async def test_failed_recipients_take_two_statements(shop: Shop, statements: list[str], size: int) -> None:
    campaign = await shop.campaign("sale")
    for number in range(1, 5):
        await failed_run(shop, campaign, number, 10)
    statements.clear()
    page = await shop.reads.failed_recipients(shop.id, campaign, PageRequest(size=size))
    assert len(page.items) == size
    assert len(statements) <= 4
