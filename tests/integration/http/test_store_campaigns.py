"""Campaigns over HTTP: life cycle, credits, receipts, figures that add up."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import attrs
from tests.integration.http.shop import UNSUBSCRIBE_KEY, World, in_days

from callboard.campaigns.model import CampaignStatus
from callboard.credits.model import Entry, EntryKind
from callboard.ids import CampaignId, TenantId
from callboard.links.rules import unsubscribe_token
from callboard.messages.dispatch import Dispatcher
from callboard.messages.model import Reason, RunState
from callboard.messages.ports import Accepted, Answer, Outbound, Refused
from callboard.tenants.model import Channel
from callboard_adapters.system import AsyncioPauses

SECRET = "sms webhook secret"
DISJOINT = ("queued", "accepted", "sent", "delivered", "failed", "skipped", "unknown", "unconfirmed", "cancelled")


@attrs.define
class Provider:
    """A channel that refuses the first few messages and accepts the others under ids it remembers."""

    refuse: int
    ids: list[str] = attrs.field(factory=list)
    concurrency: int = 32
    per_second: float = 0.0

    async def send(self, batch: Sequence[Outbound]) -> Sequence[Answer]:
        return [self._answer(message) for message in batch]

    def _answer(self, message: Outbound) -> Answer:
        if self.refuse > 0:
            self.refuse -= 1
            return Refused(reason=Reason.REFUSED, provider_code="E1")
        self.ids.append(f"sms-{message.reference}")
        return Accepted(provider_message_id=self.ids[-1])

    async def client(self, tenant: TenantId, channel: Channel) -> Provider:
        return self


async def accept_all(world: World, refuse: int = 0) -> list[str]:
    """A worker's part: everything queued is handed over; the ids the provider gave."""
    provider = Provider(refuse)
    dispatcher = Dispatcher(
        work=world.store.work,
        system=world.store.system,
        channels=provider,
        clock=world.services.clock,
        pauses=AsyncioPauses(),
        unsubscribe_token=lambda contact: unsubscribe_token(contact, UNSUBSCRIBE_KEY),
        worker="test",
    )
    while await dispatcher.run_once():
        pass
    return provider.ids


async def report(world: World, reports: Any, secret: str = SECRET) -> Any:
    body = json.dumps(reports).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return await world.client.post("/webhooks/sms/delivery", content=body, headers={"X-Webhook-Signature": signature})


async def with_secret(world: World) -> None:
    await world.services.settings.put_secret(world.mine.tenant.id, "CALLBOARD_SMS_WEBHOOK_SECRET", SECRET)


async def test_figures_add_up_from_enqueue_to_the_last_receipt(shops: World) -> None:
    await with_secret(shops)
    await shops.mine.contacts(10)
    campaign = (await shops.campaign())["id"]
    preview = await shops.data("GET", f"/campaigns/{campaign}/preview")
    enqueued = await shops.data("POST", f"/campaigns/{campaign}/enqueue")
    assert preview["recipientCount"] == enqueued["queuedRecipients"] == enqueued["creditsDebited"] == 10
    assert (preview["canSend"], preview["creditsAvailable"]) == (True, 1_000)
    ids = await accept_all(shops, refuse=2)
    delivered = [{"messageId": i, "deliveryStatus": "Delivered"} for i in ids[:5]]
    failed = [{"messageId": i, "deliveryStatus": "Failure", "error": "42"} for i in ids[5:6]]
    answer = await report(shops, delivered + failed + delivered)
    assert (answer.status_code, answer.json()) == (202, {"success": True, "received": 11})

    for path in ("metrics", "status"):
        figures = await shops.data("GET", f"/campaigns/{campaign}/{path}")
        assert figures["recipients"] == sum(figures[key] for key in DISJOINT) == 10
        assert (figures["delivered"], figures["accepted"], figures["failed"]) == (5, 2, 3)
        assert figures["byReason"] == {"refused": 2, "undelivered": 1}
    row = await shops.data("GET", f"/campaigns/{campaign}")
    assert (row["recipientCount"], row["sentCount"], row["deliveredCount"], row["failedCount"]) == (10, 8, 5, 3)
    assert row["totals"]["recipients"] == sum(row["totals"][key] for key in DISJOINT) == 10
    progress = await shops.data("GET", f"/campaigns/{campaign}/progress")
    assert (progress["total"], progress["processed"], progress["percentage"]) == (10, 10, 100.0)
    listed = (await shops.call("GET", f"/campaigns/{campaign}/failed-recipients?pageSize=2")).json()
    assert listed["pagination"]["total"] == 3
    assert len(listed["data"]) == 2
    assert {item["reason"] for item in listed["data"]} == {"refused"}
    runs = await shops.data("GET", f"/campaigns/{campaign}/runs")
    assert (runs["total"], runs["runs"][0]["totals"]) == (1, row["totals"])
    dashboard = await shops.data("GET", "/dashboard")
    assert dashboard["credits"] == 992  # two refused before acceptance came back, the later failure did not
    assert dashboard["totalMessagesSent"] == 8
    assert dashboard["reports"]["topCampaigns"][0] | {"createdAt": ""} == {
        "id": campaign,
        "name": "Summer Sale",
        "sent": 8,
        "delivered": 5,
        "failed": 3,
        "createdAt": "",
    }
    recent = dashboard["reports"]["last7Days"]
    assert (recent["sent"], recent["delivered"], recent["failed"]) == (8, 5, 3)
    summary = await shops.data("GET", "/campaigns/stats/summary")
    assert (summary["totalRecipients"], summary["totalSent"], summary["totalDelivered"]) == (10, 8, 5)


async def test_late_and_doubled_receipts_only_move_forward(shops: World) -> None:
    await with_secret(shops)
    await shops.mine.contacts(1)
    campaign = (await shops.campaign())["id"]
    await shops.data("POST", f"/campaigns/{campaign}/enqueue")
    (identity,) = await accept_all(shops)
    for status in ("Delivered", "Sent", "Delivered", "Failure"):
        assert (await report(shops, {"messageId": identity, "deliveryStatus": status})).status_code == 202
    assert (await shops.data("GET", f"/campaigns/{campaign}/metrics"))["delivered"] == 1


async def test_pause_resume_cancel_refund_exactly_what_was_not_sent(shops: World) -> None:
    await shops.mine.contacts(6)
    campaign = (await shops.campaign())["id"]
    await shops.data("POST", f"/campaigns/{campaign}/enqueue")
    assert (await shops.data("POST", f"/campaigns/{campaign}/pause"))["status"] == "paused"
    again = await shops.call("POST", f"/campaigns/{campaign}/pause")
    assert (again.status_code, again.json()["code"]) == (409, "INVALID_STATUS")
    assert (await shops.data("POST", f"/campaigns/{campaign}/resume"))["status"] == "sending"
    for method in ("DELETE", "PUT"):
        refused = await shops.call(method, f"/campaigns/{campaign}", json={"name": "X"})
        assert (refused.status_code, refused.json()["code"]) == (409, "INVALID_STATUS")
    cancelled = await shops.data("POST", f"/campaigns/{campaign}/cancel")
    assert (cancelled["status"], cancelled["cancelledRecipients"], cancelled["creditsRefunded"]) == ("cancelled", 6, 6)
    assert (await shops.data("GET", "/dashboard"))["credits"] == 1_000
    refused = await shops.call("POST", f"/campaigns/{campaign}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "INVALID_STATUS")
    assert (await shops.data("GET", f"/campaigns/{campaign}/metrics"))["cancelled"] == 6


async def test_retry_failed_is_a_new_round_for_the_failed_ones(shops: World) -> None:
    await shops.mine.contacts(5)
    campaign = (await shops.campaign())["id"]
    early = await shops.call("POST", f"/campaigns/{campaign}/retry-failed")
    assert (early.status_code, early.json()["code"]) == (409, "INVALID_STATUS")
    await shops.data("POST", f"/campaigns/{campaign}/enqueue")
    await accept_all(shops, refuse=2)
    async with shops.store.work(shops.mine.tenant.id) as w:
        found = await w.campaigns.get_for_update(CampaignId(UUID(campaign)))
        assert found is not None
        assert found.current_run is not None
        now = datetime.now(UTC)
        await w.ledger.move_run(found.current_run, to=RunState.DONE, expected=[RunState.OPEN], now=now)
        await w.campaigns.save(attrs.evolve(found, status=CampaignStatus.SENT), expected=[found.status])
    again = await shops.data("POST", f"/campaigns/{campaign}/retry-failed")
    assert (again["queuedRecipients"], again["creditsDebited"]) == (2, 2)
    runs = await shops.data("GET", f"/campaigns/{campaign}/runs")
    assert [run["recipients"] for run in runs["runs"]] == [5, 2]
    assert runs["runs"][1]["retryOf"] == runs["runs"][0]["id"]


async def test_refusals_of_enqueue(shops: World) -> None:
    empty = (await shops.campaign("empty"))["id"]
    answer = await shops.call("POST", f"/campaigns/{empty}/enqueue")
    assert (answer.status_code, answer.json()["code"], answer.json()["error"]) == (
        400,
        "NO_RECIPIENTS",
        "no_recipients",
    )
    await shops.mine.contacts(3)
    await shops.mine.credits.grant(shops.theirs.tenant.id, 1, reason="x")
    for contact in range(2):
        await shops.theirs.contact(f"+91980000000{contact}")
    poor = await shops.data(
        "POST", "/campaigns", shop=shops.theirs, status=201, json={"name": "p", "message": "m", "audience": "all"}
    )
    async with shops.store.work(shops.theirs.tenant.id) as w:
        entry = Entry(key="drain", kind=EntryKind.DEBIT, amount=-1_000, run_id=None, reason="x", at=datetime.now(UTC))
        await w.credits.book(entry)
    answer = await shops.call("POST", f"/campaigns/{poor['id']}/enqueue", shop=shops.theirs)
    assert (answer.status_code, answer.json()["code"]) == (402, "INSUFFICIENT_CREDITS")
    assert (await shops.data("GET", f"/campaigns/{poor['id']}", shop=shops.theirs))["status"] == "draft"
    assert (await shops.data("GET", "/dashboard", shop=shops.theirs))["credits"] == 1


async def test_name_is_unique_per_shop(shops: World) -> None:
    made = await shops.campaign("Same")
    other = await shops.campaign("Other")
    body = {"name": "Same", "message": "m", "audience": "all"}
    assert (await shops.call("POST", "/campaigns", json=body)).status_code == 409
    renamed = await shops.call("PUT", f"/campaigns/{other['id']}", json={"name": "Same"})
    assert (renamed.status_code, renamed.json()["code"]) == (409, "ALREADY_EXISTS")
    assert (await shops.call("POST", "/campaigns", json=body, shop=shops.theirs)).status_code == 201
    assert (await shops.data("GET", f"/campaigns/{made['id']}"))["name"] == "Same"


async def test_schedule_and_recurrence(shops: World) -> None:
    campaign = (await shops.campaign())["id"]
    at = in_days(3)
    scheduled = await shops.data("PUT", f"/campaigns/{campaign}/schedule", json={"scheduleAt": at})
    assert (scheduled["status"], scheduled["scheduledAt"], scheduled["nextRunAt"]) == ("scheduled", at, at)
    body = {"scheduleType": "recurring", "recurringDays": 30, "scheduleAt": at}
    recurring = await shops.data("PUT", f"/campaigns/{campaign}/schedule", json=body)
    assert (recurring["scheduleType"], recurring["recurringDays"], recurring["status"]) == (
        "recurring",
        30,
        "scheduled",
    )
    draft = await shops.data("PUT", f"/campaigns/{campaign}/schedule", json={"scheduleType": "immediate"})
    assert (draft["status"], draft["nextRunAt"]) == ("draft", None)


async def test_update_is_partial_and_null_empties_the_discount(shops: World) -> None:
    made = await shops.campaign(includeDiscount=True, discountValue="SAVE20")
    path = f"/campaigns/{made['id']}"
    changed = await shops.data("PUT", path, json={"message": "New"})
    assert changed | {"updatedAt": "", "message": ""} == made | {"updatedAt": "", "message": ""}
    emptied = await shops.data("PUT", path, json={"discountValue": None, "includeDiscount": False})
    assert (emptied["discountValue"], emptied["includeDiscount"]) == (None, False)
    assert (await shops.data("PATCH", path, json={"priority": "urgent"}))["priority"] == "urgent"


async def test_preview_shows_the_text_a_customer_gets(shops: World) -> None:
    await shops.mine.contact("+919800000001", first_name="Ann")
    made = await shops.campaign(
        message="Hi {{firstName|there}},\n{{discount}} {{nonsense}} https://shop.example/sale?a=1",
        discountValue="SAVE20",
    )
    preview = await shops.data("GET", f"/campaigns/{made['id']}/preview")
    assert preview["message"].startswith("Hi Ann,\nSAVE20 http://shop.test/r/")
    assert "http://shop.test/unsubscribe/" in preview["message"]
    assert "{{" not in preview["message"]
    assert preview["unknownPlaceholders"] == ["nonsense"]
