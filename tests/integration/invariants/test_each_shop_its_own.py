"""A customer's STOP, a webhook told twice, one balance: for the shop that is meant and nobody else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog
from sqlalchemy import event
from tests.integration.invariants.street import HOOK, Street

from callboard_app.logs import configure
from callboard_app.settings import load

SHARED = "one secret of an agency for both of its shops"
PHONE = "+919700000000"


async def two_senders(shops: Street, *, secret: str | None = None) -> None:
    for house, sender in ((shops.mine, "447700900001"), (shops.theirs, "447700900002")):
        put = shops.container.tenant_settings.put_secret
        await put(house.tenant.id, "CALLBOARD_SMS_SENDER", sender)
        if secret is not None:
            await put(house.tenant.id, "CALLBOARD_SMS_WEBHOOK_SECRET", secret)
        await shops.contacts(2, house=house)


async def consents(shops: Street) -> list[tuple[str, str]]:
    """(shop, consent) of the one phone both shops know."""
    query = (
        "SELECT t.slug, c.consent FROM contacts c JOIN tenants t ON t.id = c.tenant_id WHERE c.phone = :p ORDER BY 1"
    )
    return [(row[0], row[1]) for row in await shops.sql(query, p=PHONE)]


@pytest.mark.parametrize("secret", [None, SHARED])
async def test_stop_reaches_the_shop_whose_number_was_written_to_and_no_other(both: Street, secret: str | None) -> None:
    await two_senders(both, secret=secret)
    signed = secret or HOOK
    text = {"from": PHONE, "to": "447700900001", "text": "Stop!"}
    for _ in range(3):  # providers repeat themselves
        assert (await both.hook("/webhooks/sms/inbound", text, secret=signed)).status_code == 202
    assert await consents(both) == [("mine", "opted_out"), ("theirs", "opted_in")]
    records = await both.sql("SELECT count(*) FROM consent_records WHERE phone = :p AND consent = 'opted_out'", p=PHONE)
    assert records == [(1,)]
    for house, expected in ((both.mine, 1), (both.theirs, 2)):
        campaign = await both.campaign("after", house=house)
        assert (await both.enqueue(campaign, house=house))["queuedRecipients"] == expected
    await both.work()
    assert len(await both.received()) == 3


async def test_a_stop_between_enqueue_and_sending_is_honoured_and_the_credit_comes_back(shops: Street) -> None:
    await two_senders(shops)
    campaign = await shops.campaign("waiting")
    assert (await shops.enqueue(campaign))["queuedRecipients"] == 2
    await shops.hook("/webhooks/sms/inbound", {"from": PHONE, "to": "447700900001", "text": "STOP"})
    await shops.work()
    assert len(await shops.received()) == 1
    figures = await shops.data("GET", f"/campaigns/{campaign}/metrics")
    assert (figures["accepted"], figures["skipped"], figures["byReason"]) == (1, 1, {"opted_out": 1})
    assert await shops.credits() == 999
    await shops.check_books()


async def test_one_shops_secret_moves_no_message_of_another(shops: Street) -> None:
    await shops.contacts(1, house=shops.theirs)
    campaign = await shops.campaign("theirs", house=shops.theirs)
    await shops.enqueue(campaign, house=shops.theirs)
    await shops.work()
    (entry,) = await shops.received()
    report = {"messageId": entry["provider_message_id"], "deliveryStatus": "Failure"}
    assert (await shops.hook("/webhooks/sms/delivery", report)).status_code == 202  # parked: nobody of ours
    await shops.work()
    figures = await shops.data("GET", f"/campaigns/{campaign}/metrics", house=shops.theirs)
    assert (figures["accepted"], figures["failed"]) == (1, 0)
    assert (await shops.hook("/webhooks/sms/delivery", report, secret="guessed")).status_code == 401


async def test_a_shop_event_told_again_and_again_is_one_event(both: Street) -> None:
    await both.container.tenant_settings.put_secret(both.mine.tenant.id, "SHOPIFY_WEBHOOK_SECRET", "shopify secret")
    body = json.dumps({"id": 1, "phone": PHONE, "created_at": "2026-01-01T00:00:00Z"}).encode()
    signature = base64.b64encode(hmac.digest(b"shopify secret", body, hashlib.sha256)).decode()
    headers = {"X-Shopify-Topic": "orders/create", "X-Shopify-Hmac-Sha256": signature}
    for _ in range(3):
        assert (await both.client.post("/webhooks/shopify", content=body, headers=headers)).status_code == 200
    assert await both.sql("SELECT count(*) FROM shop_events") == [(1,)]


async def test_a_report_before_its_message_is_known_is_applied_when_it_is(both: Street) -> None:
    """The provider is faster than our commit: the report of an id nobody has stored yet is kept."""
    await both.contacts(1)
    campaign = await both.campaign("early")
    await both.enqueue(campaign)
    await both.work()
    (entry,) = await both.received()
    identity = entry["provider_message_id"]
    await both.sql("UPDATE messages SET provider_message_id = NULL")
    report = {"messageId": identity, "deliveryStatus": "Delivered"}
    assert (await both.hook("/webhooks/sms/delivery", report)).status_code == 202
    assert (await both.data("GET", f"/campaigns/{campaign}/metrics"))["delivered"] == 0
    await both.sql("UPDATE messages SET provider_message_id = :id", id=identity)
    await both.work()
    assert (await both.data("GET", f"/campaigns/{campaign}/metrics"))["delivered"] == 1
    assert (await both.hook("/webhooks/sms/delivery", report)).status_code == 202
    assert (await both.data("GET", f"/campaigns/{campaign}/metrics"))["delivered"] == 1


async def test_every_place_shows_the_same_balance(shops: Street) -> None:
    await shops.contacts(5)
    await shops.fault(kind="reject", next=2)
    campaign = await shops.campaign("spends")
    await shops.enqueue(campaign)
    await shops.work()
    other = await shops.campaign("previewed")
    shown = {
        await shops.credits(),
        (await shops.data("GET", f"/campaigns/{other}/preview"))["creditsAvailable"],
        await shops.container.credits.balance(shops.mine.tenant.id),
        sum(e.amount for e in await shops.container.credits.entries(shops.mine.tenant.id)),
    }
    assert shown == {997}


async def test_a_status_is_the_one_of_this_moment_and_nobody_may_keep_it(shops: Street) -> None:
    await shops.contacts(2)
    campaign = await shops.campaign("watched")
    paths = [f"/campaigns/{campaign}{end}" for end in ("", "/status", "/metrics", "/progress")]
    paths += ["/campaigns", "/dashboard"]
    seen = []
    for step in (None, shops.enqueue(campaign), shops.work()):
        if step is not None:
            await step
        for path in paths:
            answer = await shops.call("GET", path)
            assert "no-store" in answer.headers["cache-control"], path
            assert "etag" not in answer.headers
        seen.append((await shops.data("GET", f"/campaigns/{campaign}/status"))["status"])
        assert (await shops.data("GET", "/campaigns"))[0]["status"] == seen[-1]
    assert seen == ["draft", "sending", "sent"]


async def test_an_import_costs_the_same_statements_however_many_rows_it_has(both: Street) -> None:
    """Two batches of one size, one of them ten times as full."""
    counted: list[str] = []
    engine = both.container.store.engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *a: counted.append(str(a[2])))
    costs = []
    for first, rows in ((9_100_000_000, 20), (9_200_000_000, 2_000)):
        before = len(counted)
        lines = "\n".join(f"+91{first + i},P{i},opted_in" for i in range(rows))
        file = ("people.csv", f"phone,firstName,smsConsent\n{lines}\n".encode(), "text/csv")
        answer = await both.call("POST", "/contacts/import", files={"file": file})
        assert answer.status_code == 200, answer.text
        assert answer.json()["data"]["created"] == rows
        costs.append(len(counted) - before)
    assert costs[1] <= costs[0] + 3, costs


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything the processes would log, at the most talkative level."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure(load({"CALLBOARD_LOG_FORMAT": "json", "CALLBOARD_LOG_LEVEL": "debug"}))
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


async def test_logs_of_import_campaign_and_reports_hold_ids_and_counts_and_nobodys_data(
    log: io.StringIO, shops: Street
) -> None:
    phones = [f"+9198{i:02}314159" for i in range(12)]
    rows = "\n".join(f"{p},MarkedName{i},marked{i}@example.com,opted_in" for i, p in enumerate(phones))
    rows += "\nMarkedBroken,x,y,opted_in"
    content = f"phone,firstName,email,smsConsent\n{rows}\n".encode()
    answer = await shops.call("POST", "/contacts/import", files={"file": ("MarkedFile.csv", content, "text/csv")})
    assert answer.json()["data"]["created"] == 12
    await shops.fault(kind="reject", next=2)
    await shops.fault(kind="reset_after", next=1)
    campaign = await shops.campaign("MarkedCampaign", message="MarkedText for {{firstName}} https://marked.example/x")
    await shops.enqueue(campaign)
    await shops.work()
    reports = [{"messageId": e["provider_message_id"], "deliveryStatus": "Failure", "error": "MarkedError"}
               for e in await shops.received()]  # fmt: skip
    await shops.hook("/webhooks/sms/delivery", reports)
    await shops.hook("/webhooks/sms/inbound", {"from": phones[0], "to": "Callboard", "text": "MarkedReply"})
    for text in (await shops.texts())[:2]:
        for url in [word for word in text.split() if word.startswith("http")]:
            await shops.client.get(url)
            await shops.client.post(url)
    await shops.call("GET", "/contacts", params={"search": "MarkedSearch"})
    await shops.call(
        "POST", "/campaigns", content=b'{"name": "MarkedBody', headers={"Content-Type": "application/json"}
    )
    await shops.client.get("/campaigns", headers={"Authorization": "Bearer MarkedBearer"})
    written = log.getvalue()
    events = [json.loads(line)["event"] for line in written.splitlines()]
    assert events.count("request.answered") > 10  # it was really listened to
    assert campaign in written or "{campaign_id}" in written
    assert "marked" not in written.casefold()
    for secret in (*phones, *(p[1:] for p in phones), *(p[3:] for p in phones), shops.mine.key, HOOK):
        assert secret not in written
    tokens = {url.rsplit("/", 1)[1] for t in await shops.texts() for url in t.split() if url.startswith("http://shop")}
    assert tokens
    assert not [token for token in tokens if token in written]
    assert max(len(line) for line in written.splitlines()) < 4_000  # counts, not lists of everybody
