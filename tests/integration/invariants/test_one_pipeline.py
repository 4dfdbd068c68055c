"""What reaches the provider: personal, with a way out, once, in order of priority, and nothing after a cancel."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.invariants.street import PUBLIC, Street, street

URL = re.compile(r"https?://[^\s]+")
MESSAGE = (
    "Hi {{firstName|there}},\n{{discount}} for you at {{shopName}} {{nonsense}}!\nhttps://shop.example/sale?a=1&b=2"
)


async def follow(shops: Street, text: str) -> list[str]:
    """Open every URL of a message as a customer would: destinations of the short links, after the page to leave by."""
    found = URL.findall(text)
    places = []
    for url in found:
        assert url.startswith(PUBLIC), url
        answer = await shops.client.get(url)
        if "/unsubscribe/" in url:
            assert answer.status_code == 200, url
            places.append("unsubscribe")
        else:
            assert answer.status_code == 302, url
            places.append(answer.headers["location"])
    return places


async def test_every_way_of_sending_gives_the_same_personal_message_whose_links_all_work(shops: Street) -> None:
    phones = await shops.contacts(4)
    values: dict[str, Any] = {"message": MESSAGE, "includeDiscount": True, "discountValue": "SAVE20"}
    by_hand = await shops.campaign("by hand", **values)
    await shops.fault(kind="reject", match={"to": phones[0].removeprefix("+")}, next=1)
    await shops.fault(kind="reject", match={"to": phones[0]}, next=1)
    await shops.enqueue(by_hand)
    await shops.work()
    assert len(await shops.received()) == 3
    assert (await shops.data("GET", f"/campaigns/{by_hand}"))["status"] == "sent"
    await shops.twin.delete("/_control/faults")
    retried = await shops.data("POST", f"/campaigns/{by_hand}/retry-failed")
    assert retried["queuedRecipients"] == 1
    await shops.work()
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    planned: dict[str, dict[str, Any]] = {"once": {"scheduleType": "scheduled", "scheduleAt": soon},
               "often": {"scheduleType": "recurring", "recurringDays": 7, "scheduleAt": soon}}  # fmt: skip
    for name, schedule in planned.items():
        await shops.campaign(name, **values, **schedule)
    await asyncio.sleep(1.2)
    await shops.work()
    texts = await shops.texts()
    assert len(texts) == 4 + 4 + 4
    for text in texts:
        lines = text.split("\n")
        assert re.fullmatch(r"Hi Person[0-3],", lines[0]), text
        assert lines[1] == "SAVE20 for you at Shop mine!", text
        assert "{" not in text
        assert await follow(shops, text) == ["https://shop.example/sale?a=1&b=2", "unsubscribe"], text
    assert Counter(text.split("\n")[0] for text in texts) == {f"Hi Person{i},": 3 for i in range(4)}
    await shops.check_books()


async def test_only_people_are_counted_as_clicks(shops: Street) -> None:
    await shops.contacts(1)
    campaign = await shops.campaign("links", message="Look https://shop.example/")
    await shops.enqueue(campaign)
    await shops.work()
    (text,) = await shops.texts()
    link = URL.findall(text)[0]
    for agent in ("Mozilla/5.0 (iPhone)", "WhatsApp/2.23", "facebookexternalhit/1.1", "Slackbot-LinkExpanding 1.0"):
        answer = await shops.client.get(link, headers={"User-Agent": agent})
        assert (answer.status_code, answer.headers["location"]) == (302, "https://shop.example/")
    assert (await shops.client.head(link, headers={"User-Agent": "Mozilla/5.0"})).status_code == 302
    for _ in range(40):
        await asyncio.sleep(0.1)
        if clicks := (await shops.data("GET", f"/campaigns/{campaign}/metrics"))["clicks"]:
            break
    assert clicks == 1


@pytest.mark.parametrize("bulk", ["1", "50"])
async def test_in_a_mixed_batch_everybody_has_an_outcome_of_his_own(file_url: str, twin: str, bulk: str) -> None:
    async with street(file_url, twin, CALLBOARD_SMS_BULK_SIZE=bulk) as shops:
        phones = await shops.contacts(10)
        for unlucky, kind in {3: "reject", 7: "no_id"}.items():
            for spelling in (phones[unlucky], phones[unlucky].removeprefix("+")):
                await shops.fault(kind=kind, match={"to": spelling}, always=True)
        campaign = await shops.campaign("mixed")
        await shops.enqueue(campaign)
        await shops.work()
        await shops.work()  # a second look must find nothing to repeat
        figures = await shops.data("GET", f"/campaigns/{campaign}/metrics")
        assert (figures["accepted"], figures["failed"], figures["queued"], figures["unknown"]) == (8, 2, 0, 0)
        rows = await shops.sql("SELECT phone, state, provider_message_id, credits FROM messages")
        for phone, state, provider_id, paid in rows:
            unlucky = phone in (phones[3], phones[7])
            assert (state, bool(provider_id), paid) == (("failed", False, 0) if unlucky else ("accepted", True, 1))
        assert max(Counter(entry["to"] for entry in await shops.received()).values()) == 1
        assert await shops.credits() == 1_000 - 8
        # the ids that were kept are those that reports name
        reports = [{"messageId": r[2], "deliveryStatus": "Delivered"} for r in rows if r[2]]
        assert (await shops.hook("/webhooks/sms/delivery", reports)).status_code == 202
        figures = await shops.data("GET", f"/campaigns/{campaign}/metrics")
        assert (figures["delivered"], figures["failed"]) == (8, 2)
        failed = await shops.data("GET", f"/campaigns/{campaign}/failed-recipients")
        assert len(failed) == 2
        assert all(item["reason"] for item in failed)
        await shops.check_books()


async def test_a_campaign_may_use_the_whole_balance(both: Street) -> None:
    await both.contacts(9)
    await both.sql("UPDATE credit_accounts SET balance = 9")
    await both.sql("UPDATE credit_entries SET amount = 9")
    campaign = await both.campaign("everything")
    shown = await both.data("GET", f"/campaigns/{campaign}/preview")
    assert (shown["canSend"], shown["creditsAvailable"]) == (True, 9)
    assert (await both.enqueue(campaign))["queuedRecipients"] == 9
    assert await both.credits() == 0
    await both.work()
    figures = await both.data("GET", f"/campaigns/{campaign}/metrics")
    assert (figures["accepted"], len(await both.received())) == (9, 9)
    assert await both.credits() == 0
    await both.check_books()


async def test_after_a_cancel_nothing_that_was_queued_at_any_priority_is_sent(both: Street) -> None:
    await both.contacts(80)
    campaigns = [await both.campaign(p, message=p, priority=p) for p in ("low", "normal", "high", "urgent")]
    for campaign in campaigns:
        await both.enqueue(campaign)
    waves = iter([False, True])
    assert await both.worker.dispatch(lambda: next(waves))  # one wave of the urgent one, then the worker pauses
    before = await both.received()
    assert {entry["body"]["sms"]["text"].split("\n")[0] for entry in before} == {"urgent"}
    assert 0 < len(before) < 80
    refunded = 0
    for campaign in campaigns:
        answer = await both.data("POST", f"/campaigns/{campaign}/cancel")
        assert answer["cancelledRecipients"] == answer["creditsRefunded"]
        refunded += answer["creditsRefunded"]
    assert refunded == 4 * 80 - len(before)
    await both.work()
    assert await both.received() == before
    assert await both.credits() == 1_000 - len(before)
    for campaign in campaigns:
        assert (await both.data("GET", f"/campaigns/{campaign}"))["status"] == "cancelled"
    await both.check_books()


async def test_a_cancel_while_a_worker_holds_the_rows_stops_the_next_wave(shops: Street) -> None:
    await shops.contacts(100)
    campaign = await shops.campaign("held")
    await shops.enqueue(campaign)
    await shops.twin.post("/_control/latency", json={"provider": "sms", "ms": 150})
    sending = asyncio.create_task(shops.worker.dispatch(lambda: False))
    while not (await shops.sql("SELECT 1 FROM messages WHERE state = 'sending'")):
        await asyncio.sleep(0.01)
    answer = await shops.data("POST", f"/campaigns/{campaign}/cancel")
    await sending
    await shops.work()
    await shops.twin.post("/_control/latency", json={"provider": "sms", "ms": 0})
    sent = len(await shops.received())
    assert 0 < sent < 100
    assert answer["cancelledRecipients"] == 100 - sent
    assert await shops.credits() == 1_000 - sent
    await shops.check_books()


async def test_more_urgent_messages_leave_first_whatever_was_queued_first(both: Street) -> None:
    await both.contacts(3)
    for priority in ("low", "high", "normal", "urgent"):
        campaign = await both.campaign(priority, message=priority, priority=priority)
        await both.enqueue(campaign)
    await both.work()
    order = [text.split("\n")[0] for text in await both.texts()]
    assert order == [p for p in ("urgent", "high", "normal", "low") for _ in range(3)]


async def test_a_sending_campaign_is_not_enqueued_again_and_nobody_is_written_to_twice(both: Street) -> None:
    await both.contacts(12)
    campaign = await both.campaign("twice")
    answers = await asyncio.gather(*(both.call("POST", f"/campaigns/{campaign}/enqueue") for _ in range(6)))
    assert sorted(a.status_code for a in answers) == [200] + [409] * 5
    await asyncio.gather(*(both.worker.dispatch(lambda: False) for _ in range(4)))
    assert (await both.call("POST", f"/campaigns/{campaign}/enqueue")).status_code == 409
    await both.work()
    assert (await both.call("POST", f"/campaigns/{campaign}/enqueue")).status_code == 409
    assert Counter(e["to"] for e in await both.received()).most_common(1)[0][1] == 1
    assert len(await both.received()) == 12
    assert await both.credits() == 988


async def test_a_person_met_twice_in_one_audience_is_written_to_once(shops: Street) -> None:
    """A phone is unique among live contacts; one that moved to another contact in the meantime is still one phone."""
    (phone,) = await shops.contacts(1)
    campaign = await shops.campaign("moved")
    await shops.enqueue(campaign)
    contact = (await shops.data("GET", "/contacts"))["contacts"][0]["id"]
    await shops.data("DELETE", f"/contacts/{contact}")
    await shops.contact(phone, first_name="New")
    await shops.work()
    assert len(await shops.received()) <= 1
    rows = await shops.sql("SELECT run_id, phone FROM messages")
    assert len(rows) == len(set(rows)) == 1


async def test_a_retry_has_a_provider_id_of_its_own_and_old_reports_stay_with_the_old_message(both: Street) -> None:
    await both.contacts(2)
    campaign = await both.campaign("retried")
    await both.enqueue(campaign)
    await both.work()
    old = [entry["provider_message_id"] for entry in await both.received()]
    failures = [{"messageId": identity, "deliveryStatus": "Failure"} for identity in old]
    assert (await both.hook("/webhooks/sms/delivery", failures)).status_code == 202
    assert (await both.data("POST", f"/campaigns/{campaign}/retry-failed"))["queuedRecipients"] == 2
    await both.work()
    new = [entry["provider_message_id"] for entry in await both.received()][2:]
    assert len({*old, *new}) == 4
    assert (await both.hook("/webhooks/sms/delivery", failures)).status_code == 202  # told again, late
    done = {"messageId": new[0], "deliveryStatus": "Delivered"}
    assert (await both.hook("/webhooks/sms/delivery", done)).status_code == 202
    runs = (await both.data("GET", f"/campaigns/{campaign}/runs"))["runs"]
    assert [(r["totals"]["failed"], r["totals"]["accepted"], r["totals"]["delivered"]) for r in runs] == [
        (2, 0, 0),
        (0, 1, 1),
    ]
    assert await both.credits() == 996  # what was handed over was paid for, each time
    await both.check_books()
