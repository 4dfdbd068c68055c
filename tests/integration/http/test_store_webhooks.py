"""Signed callbacks: who may call, whose it is, what it does, how often."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from tests.integration.http.shop import Shop, World

from callboard_adapters.sql import tables as t

REFUSAL = {"success": False, "error": "unauthorized", "message": "Authentication required", "code": "UNAUTHORIZED"}
SMS, META, SHOP = "an sms secret", "a meta app secret", "a shopify secret"


def hexed(body: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def set_up(world: World, shop: Shop, prefix: str = "") -> None:
    secrets = {
        "CALLBOARD_SMS_WEBHOOK_SECRET": prefix + SMS,
        "CALLBOARD_SMS_SENDER": f"{prefix}Sender",
        "WHATSAPP_PHONE_NUMBER_ID": f"{prefix}1065",
        "WHATSAPP_APP_SECRET": prefix + META,
        "WHATSAPP_VERIFY_TOKEN": f"{prefix}verify me",
        "SHOPIFY_WEBHOOK_SECRET": prefix + SHOP,
    }
    for name, value in secrets.items():
        await world.services.settings.put_secret(shop.tenant.id, name, value)


async def sms(
    world: World, path: str, content: Any, *, secret: str = SMS, header: str = "X-Webhook-Signature"
) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return await world.client.post(f"/webhooks/sms/{path}", content=body, headers={header: hexed(body, secret)})


async def consent(world: World, shop: Shop, phone: str) -> str:
    found = (await world.data("GET", f"/contacts?search={phone.replace('+', '%2B')}", shop=shop))["contacts"]
    return str(found[0]["smsConsent"])


GOOD = b'{"messageId":"x","deliveryStatus":"Delivered"}'
SIGNATURES: dict[str, list[tuple[bytes, bytes]]] = {
    "missing": [],
    "empty": [(b"x-webhook-signature", b"")],
    "other body": [(b"x-webhook-signature", hexed(b"{}", SMS).encode())],
    "other secret": [(b"x-webhook-signature", hexed(GOOD, "wrong").encode())],
    "empty secret": [(b"x-webhook-signature", hexed(GOOD, "").encode())],
    "short": [(b"x-webhook-signature", hexed(GOOD, SMS)[:-1].encode())],
    "upper case": [(b"x-webhook-signature", hexed(GOOD, SMS).upper().encode())],
    "prefix": [(b"x-webhook-signature", b"sha256=" + hexed(GOOD, SMS).encode())],
    "non-ASCII": [(b"x-webhook-signature", "ü".encode() * 32)],
    "high bytes": [(b"x-webhook-signature", bytes(range(0x80, 0x100)))],
    "twice": [(b"x-webhook-signature", hexed(GOOD, SMS).encode())] * 2,
    "bearer": [(b"authorization", b"Bearer x")],
}


@pytest.mark.parametrize("path", ["/webhooks/sms/delivery", "/webhooks/sms/inbound"])
async def test_bad_signatures_are_all_the_same_401(shops: World, path: str) -> None:
    closed = await shops.client.post(path, content=GOOD, headers={"X-Webhook-Signature": hexed(GOOD, "")})
    assert (closed.status_code, closed.json()) == (401, REFUSAL)
    await set_up(shops, shops.mine)
    await asyncio.sleep(0)
    shops.services.owners._known.clear()
    for name, headers in SIGNATURES.items():
        answer = await shops.client.post(path, content=GOOD, headers=headers)
        assert (answer.status_code, answer.json()) == (401, REFUSAL), name
    async with shops.store.system() as s:
        assert (await s._scope.connection.execute(select(t.webhook_calls))).all() == []


async def test_other_signature_headers_and_the_api_key_as_secret(shops: World) -> None:
    await shops.services.settings.put_secret(shops.mine.tenant.id, "CALLBOARD_SMS_API_KEY", "the api key")
    assert (await sms(shops, "delivery", GOOD, secret="the api key", header="X-Mitto-Signature")).status_code == 202
    await shops.services.settings.put_secret(shops.mine.tenant.id, "CALLBOARD_SMS_WEBHOOK_SECRET", SMS)
    shops.services.owners._known.clear()
    assert (await sms(shops, "delivery", GOOD, secret="the api key")).status_code == 401
    assert (await sms(shops, "delivery", GOOD)).status_code == 202


async def test_unknown_ids_are_parked_and_odd_reports_ignored(shops: World) -> None:
    await set_up(shops, shops.mine)
    for content, received in (
        ({"messageId": "unknown", "deliveryStatus": "Delivered"}, 1),
        ([{"messageId": "a", "deliveryStatus": "Sent"}, {"messageId": "b", "deliveryStatus": "UNDELIVERED"}], 2),
        ([], 0),
        ([1, None, {"messageId": "a"}, {"deliveryStatus": "Sent"}, {"messageId": {}, "deliveryStatus": "Sent"}], 0),
        ({"messageId": "c", "deliveryStatus": "Dancing"}, 0),
        ({"messageId": "d", "deliveryStatus": "Sent", "updatedAt": "9999-99-99"}, 1),
    ):
        answer = await sms(shops, "delivery", content)
        assert (answer.status_code, answer.json()) == (202, {"success": True, "received": received}), content
    async with shops.store.system() as s:
        calls = (await s._scope.connection.execute(select(t.webhook_calls))).all()
        parked = (await s._scope.connection.execute(select(t.parked_receipts))).all()
    assert len(calls) == 6
    assert {call.tenant_id for call in calls} == {shops.mine.tenant.id}
    assert len(parked) == 4


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"1", b'"x"', b"[" * 100_000, b"null"])
async def test_broken_body_with_a_good_signature_is_400(shops: World, body: bytes) -> None:
    await set_up(shops, shops.mine)
    for path in ("delivery", "inbound"):
        answer = await sms(shops, path, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")


async def test_callback_cap_is_four_megabytes(shops: World) -> None:
    await set_up(shops, shops.mine)
    fits = json.dumps([{"messageId": "x" * 1000}] * 3_900).encode()
    assert 3_900_000 < len(fits) < 4 * 1024 * 1024
    assert (await sms(shops, "delivery", fits)).status_code == 202
    assert (await sms(shops, "delivery", b" " * (4 * 1024 * 1024 + 1))).status_code == 413


async def test_a_hundred_at_once_share_commits_and_are_all_durable(shops: World) -> None:
    await set_up(shops, shops.mine)
    answers = await asyncio.gather(
        *(sms(shops, "delivery", {"messageId": f"m{n}", "deliveryStatus": "Sent"}) for n in range(100))
    )
    assert {answer.status_code for answer in answers} == {202}
    async with shops.store.system() as s:
        parked = (await s._scope.connection.execute(select(t.parked_receipts))).all()
    assert len(parked) == 100
    text = (await shops.client.get("/metrics")).text
    flushes = next(line for line in text.splitlines() if line.startswith("callboard_receipt_flushes_total"))
    assert float(flushes.split()[1]) < 100
    assert 'callboard_receipts_total{outcome="parked"} 100.0' in text


async def test_receipt_signed_by_another_shop_does_not_touch_the_message(shops: World) -> None:
    from tests.integration.http.test_store_campaigns import accept_all

    await set_up(shops, shops.mine)
    await set_up(shops, shops.theirs, "their ")
    await shops.mine.contacts(1)
    campaign = (await shops.campaign())["id"]
    await shops.data("POST", f"/campaigns/{campaign}/enqueue")
    (identity,) = await accept_all(shops)
    report = {"messageId": identity, "deliveryStatus": "Delivered"}
    assert (await sms(shops, "delivery", report, secret="their " + SMS)).status_code == 202
    assert (await shops.data("GET", f"/campaigns/{campaign}/metrics"))["delivered"] == 0
    assert (await sms(shops, "delivery", report)).status_code == 202
    assert (await shops.data("GET", f"/campaigns/{campaign}/metrics"))["delivered"] == 1


# --- inbound texts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["STOP", "stop", " Stop. ", "UNSUBSCRIBE", "opt out", "Opt-Out!", "revoke", "END", "quit", "CANCEL", "stopall"],
)
async def test_stop_word_opts_out_of_the_addressed_shop_only(shops: World, text: str) -> None:
    for shop, prefix in ((shops.mine, ""), (shops.theirs, "")):
        await set_up(shops, shop, prefix)
        await shop.contact("+919812345678")
    await shops.services.settings.put_secret(shops.theirs.tenant.id, "CALLBOARD_SMS_SENDER", "Other")
    answer = await sms(shops, "inbound", {"from": "919812345678", "to": "Sender", "text": text})
    assert answer.status_code == 202
    assert await consent(shops, shops.mine, "+919812345678") == "opted_out"
    assert await consent(shops, shops.theirs, "+919812345678") == "opted_in"


async def test_start_opens_again_and_other_texts_do_nothing(shops: World) -> None:
    await set_up(shops, shops.mine)
    await shops.mine.contact("+919812345678")
    for text in ("please stop calling", "STOP it", "", "stopp", "hello", "nonstop"):
        await sms(shops, "inbound", {"from": "+919812345678", "to": "sender", "text": text})
        assert await consent(shops, shops.mine, "+919812345678") == "opted_in", text
    await sms(shops, "inbound", [{"from": "+919812345678", "text": "stop"}])
    assert await consent(shops, shops.mine, "+919812345678") == "opted_out"
    await sms(shops, "inbound", {"from": "+919812345678", "to": "Sender", "text": "START"})
    assert await consent(shops, shops.mine, "+919812345678") == "opted_in"


async def test_inbound_text_to_a_sender_nobody_has_changes_nothing(shops: World) -> None:
    await set_up(shops, shops.mine)
    await shops.mine.contact("+919812345678")
    answer = await sms(shops, "inbound", {"from": "+919812345678", "to": "Unknown", "text": "STOP"})
    assert answer.status_code == 202
    assert await consent(shops, shops.mine, "+919812345678") == "opted_in"
    assert (await sms(shops, "inbound", {"from": "junk", "to": "Sender", "text": "STOP"})).status_code == 202


# --- Shopify ------------------------------------------------------------------------------------------------------

ORDER = {
    "id": 1,
    "email": "ann@example.com",
    "created_at": "2026-01-02T03:04:05+05:30",
    "customer": {"phone": "9812345678"},
    "total_price": "2499.00",
}


async def shopify(
    world: World, body: bytes, *, secret: str = SHOP, topic: str = "orders/create", **more: str
) -> httpx.Response:
    signature = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()
    headers = {"X-Shopify-Hmac-Sha256": signature, "X-Shopify-Topic": topic, **more}
    return await world.client.post("/webhooks/shopify", content=body, headers=headers)


async def events(world: World) -> list[Any]:
    async with world.store.work(world.mine.tenant.id) as w:
        return list((await w.connection.execute(select(t.shop_events))).all())


async def test_shopify_event_is_kept_once_for_the_shop_whose_secret_signs(shops: World) -> None:
    await set_up(shops, shops.mine)
    await set_up(shops, shops.theirs, "their ")
    body = json.dumps(ORDER).encode()
    for _ in range(3):
        assert (await shopify(shops, body)).status_code == 200
    (event,) = await events(shops)
    assert event.tenant_id == shops.mine.tenant.id
    assert (event.source, event.type) == ("shopify", "orders/create")
    assert event.contact_phone == "+919812345678"
    assert event.contact_email == "ann@example.com"
    assert event.occurred_at.isoformat() == "2026-01-01T21:34:05+00:00"


async def test_shopify_bad_signatures_are_401(shops: World) -> None:
    body = json.dumps(ORDER).encode()
    assert (await shopify(shops, body, secret="")).status_code == 401
    await set_up(shops, shops.mine)
    shops.services.owners._known.clear()
    good = base64.b64encode(hmac.digest(SHOP.encode(), body, hashlib.sha256))
    for headers in (
        [],
        [(b"x-shopify-hmac-sha256", b"")],
        [(b"x-shopify-hmac-sha256", b"\xff\xfe")],
        [(b"x-shopify-hmac-sha256", hexed(body, SHOP).encode())],
        [(b"x-shopify-hmac-sha256", good.rstrip(b"="))],
        [(b"x-shopify-hmac-sha256", good), (b"x-shopify-hmac-sha256", good)],
    ):
        answer = await shops.client.post("/webhooks/shopify", content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (401, REFUSAL)
    assert await events(shops) == []


async def test_shops_that_share_an_app_are_told_apart_by_domain(shops: World) -> None:
    for shop, domain in ((shops.mine, "mine.myshopify.com"), (shops.theirs, "theirs.myshopify.com")):
        await shops.services.settings.put_secret(shop.tenant.id, "SHOPIFY_WEBHOOK_SECRET", SHOP)
        await shops.services.settings.put_secret(shop.tenant.id, "SHOPIFY_SHOP_DOMAIN", domain)
    body = json.dumps(ORDER).encode()
    assert (await shopify(shops, body)).status_code == 401
    assert (await shopify(shops, body, **{"X-Shopify-Shop-Domain": "evil.example"})).status_code == 401
    assert (await shopify(shops, body, **{"X-Shopify-Shop-Domain": "mine.myshopify.com"})).status_code == 200
    assert len(await events(shops)) == 1


async def test_shopify_odd_payloads(shops: World) -> None:
    await set_up(shops, shops.mine)
    for broken in (b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000):
        assert (await shopify(shops, broken)).status_code == 400
    assert (await shopify(shops, b"{}", topic="unknown/topic")).status_code == 200
    assert await events(shops) == []
    large = json.dumps(ORDER | {"note": "x" * 200_000}).encode()
    odd = json.dumps(ORDER | {"note": "\x00", "email": "a@b\x00", "updated_at": "0001-01-01T00:00:00+14:00"}).encode()
    for body in (b"{}", large, odd, b'{"customer":7,"phone":[1],"email":{}}'):
        assert (await shopify(shops, body)).status_code == 200
    assert len(await events(shops)) == 4


# --- WhatsApp -----------------------------------------------------------------------------------------------------


def notification(number: str = "1065", **value: Any) -> bytes:
    body = {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": "1",
                "changes": [
                    {
                        "field": "messages",
                        "value": {
                            "messaging_product": "whatsapp",
                            "metadata": {"display_phone_number": "911234567890", "phone_number_id": number},
                            **value,
                        },
                    }
                ],
            }
        ],
    }
    return json.dumps(body).encode()


async def whatsapp(
    world: World, body: bytes, *, secret: str = META, path: str = "/webhooks/whatsapp"
) -> httpx.Response:
    return await world.client.post(path, content=body, headers={"X-Hub-Signature-256": f"sha256={hexed(body, secret)}"})


async def test_whatsapp_subscription_check(shops: World) -> None:
    query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "verify me"}
    closed = await shops.client.get("/webhooks/whatsapp", params=query)
    assert (closed.status_code, closed.text) == (403, "")
    await set_up(shops, shops.mine)
    shops.services.owners._known.clear()
    good = await shops.client.get("/webhooks/whatsapp", params=query)
    assert (good.status_code, good.text) == (200, "1158201444")
    assert good.headers["content-type"].startswith("text/plain")
    for change in (
        {"hub.mode": "x"},
        {"hub.verify_token": "wrong"},
        {"hub.verify_token": "ü"},
        {"hub.verify_token": ""},
    ):
        assert (await shops.client.get("/webhooks/whatsapp", params=query | change)).status_code == 403


async def test_whatsapp_opt_outs_by_every_signal(shops: World) -> None:
    await set_up(shops, shops.mine)
    await set_up(shops, shops.theirs, "their ")
    stop = {
        "from": "919812345670",
        "id": "wamid.1",
        "timestamp": "1766400100",
        "type": "text",
        "text": {"body": "Stop"},
    }
    tap = {
        "from": "919812345671",
        "id": "wamid.2",
        "timestamp": "1766400100",
        "type": "button",
        "button": {"payload": "x", "text": "Stop promotions"},
    }
    preference = {"wa_id": "919812345672", "category": "marketing_messages", "value": "stop", "timestamp": 1766400100}
    for shop in (shops.mine, shops.theirs):
        for digit in range(3):
            await shop.contact(f"+91981234567{digit}")
    body = notification(messages=[stop, tap], user_preferences=[preference])
    for path in ("/webhooks/whatsapp", "/store/webhooks/whatsapp"):
        assert (await whatsapp(shops, body, path=path)).status_code == 200
    for digit in range(3):
        assert await consent(shops, shops.mine, f"+91981234567{digit}") == "opted_out"
        assert await consent(shops, shops.theirs, f"+91981234567{digit}") == "opted_in"


async def test_whatsapp_number_must_be_signed_by_its_own_app(shops: World) -> None:
    await set_up(shops, shops.mine)
    await set_up(shops, shops.theirs, "their ")
    status = {"id": "wamid.9", "status": "delivered", "timestamp": "1766400002", "recipient_id": "919812345678"}
    body = notification(statuses=[status])
    assert (await whatsapp(shops, body, secret="their " + META)).status_code == 401
    assert (await whatsapp(shops, body, secret="")).status_code == 401
    assert (await shops.client.post("/webhooks/whatsapp", content=body)).status_code == 401
    assert (await whatsapp(shops, body)).status_code == 200
    stranger = notification("nobody's number", statuses=[status])
    assert (await whatsapp(shops, stranger)).status_code == 200
    assert (await whatsapp(shops, stranger, secret="wrong")).status_code == 401
    async with shops.store.system() as s:
        parked = (await s._scope.connection.execute(select(t.parked_receipts))).all()
    assert len(parked) == 1
    for broken in (b"", b"{", b"\xff"):
        assert (await whatsapp(shops, broken)).status_code == 400
    assert (await whatsapp(shops, b'{"object":"other"}')).status_code == 200


async def test_somebody_who_claims_our_number_signs_for_nobody_but_himself(shops: World) -> None:
    await set_up(shops, shops.mine)
    await set_up(shops, shops.theirs, "their ")
    await shops.services.settings.put_secret(shops.theirs.tenant.id, "WHATSAPP_PHONE_NUMBER_ID", "1065")
    await shops.mine.contact("+919812345670")
    stop = {
        "from": "919812345670",
        "id": "wamid.1",
        "timestamp": "1766400100",
        "type": "text",
        "text": {"body": "Stop"},
    }
    assert (await whatsapp(shops, notification(messages=[stop]), secret="their " + META)).status_code == 200
    assert await consent(shops, shops.mine, "+919812345670") == "opted_in"
