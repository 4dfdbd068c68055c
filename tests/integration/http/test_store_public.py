"""What customers open: short links and the unsubscribe page; and what everybody gets when the database is away."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from tests.integration.http.shop import UNSUBSCRIBE_KEY, CountedHints, World, build, client_of, world
from tests.unit.http.probe import started

from callboard.ids import CampaignId, ContactId
from callboard.links.model import Link
from callboard.links.rules import unsubscribe_token
from callboard_adapters.http.health import Probes
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.work import SqlStore
from callboard_adapters.system import Uuid7Ids

PHONE = {"User-Agent": "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140 Mobile Safari/537.36"}
URL = "https://shop.example/sale?a=1&b=%20#top"


async def link(world: World, token: str, url: str = URL, **values: object) -> str:
    made = Link(
        token=token,
        tenant_id=world.mine.tenant.id,
        url=url,
        campaign_id=values.get("campaign"),  # type: ignore[arg-type]
        created_at=datetime.now(UTC),
        expires_at=values.get("expires"),  # type: ignore[arg-type]
    )
    async with world.store.work(world.mine.tenant.id) as w:
        await w.links.add(made)
    return token


async def test_link_in_a_campaign_resolves_and_its_click_shows_in_the_metrics(shops: World) -> None:
    await shops.mine.contacts(1)
    campaign = (await shops.campaign(message=f"Look: {URL}"))["id"]
    await shops.data("POST", f"/campaigns/{campaign}/enqueue")
    async with shops.store.work(shops.mine.tenant.id) as w:
        (made,) = await w.links.for_campaign(CampaignId(UUID(campaign)))
    for method in ("GET", "HEAD"):
        for prefix in ("", "/store"):
            answer = await shops.client.request(method, f"{prefix}/r/{made.token}", headers=PHONE)
            assert (answer.status_code, answer.headers["location"]) == (302, URL)
            assert answer.headers["cache-control"] == "no-store"
    for agent in ("WhatsApp/2.24", "facebookexternalhit/1.1", "Slackbot-LinkExpanding 1.0", "Twitterbot/1.0"):
        answer = await shops.client.get(f"/r/{made.token}", headers={"User-Agent": agent})
        assert answer.status_code == 302
    await shops.services.clicks.flush()
    assert (await shops.data("GET", f"/campaigns/{campaign}/metrics"))["clicks"] == 2
    assert (await shops.data("GET", f"/campaigns/{campaign}"))["clicks"] == 2


async def test_unknown_404_expired_410(shops: World) -> None:
    await link(shops, "expiredtoken", expires=datetime.now(UTC) - timedelta(seconds=1))
    await link(shops, "livetoken12", expires=datetime.now(UTC) + timedelta(hours=1))
    assert (await shops.client.get("/r/livetoken12")).status_code == 302
    gone = await shops.client.get("/r/expiredtoken")
    assert (gone.status_code, gone.json()["code"]) == (410, "GONE")
    for token in ("unknowntoken", "x", "a" * 65, "..%2f..%2fetc", "%00", "%0d%0aLocation:x", "a%20b"):
        answer = await shops.client.get(f"/r/{token}")
        assert answer.status_code == 404, token
        assert "location" not in answer.headers


async def test_clicks_are_collected_and_written_once(shops: World) -> None:
    token = await link(shops, "clicktoken1")
    await asyncio.gather(*(shops.client.get(f"/r/{token}", headers=PHONE) for _ in range(50)))
    await shops.services.clicks.flush()
    await shops.services.clicks.flush()
    async with shops.store.system() as s:
        rows = (await s._scope.connection.execute(select(t.link_clicks.c.n))).all()
    assert [row.n for row in rows] == [50]


async def test_clicks_are_written_by_themselves(shops: World) -> None:
    await shops.client.get(f"/r/{await link(shops, 'clicktoken2')}", headers=PHONE)
    for _ in range(60):
        async with shops.store.system() as s:
            if (await s._scope.connection.execute(select(t.link_clicks.c.n))).all():
                return
        await asyncio.sleep(0.1)
    raise AssertionError("never written")


async def test_clicks_are_written_when_the_server_stops(database_url: str) -> None:
    async with world(database_url) as shops:
        await shops.client.get(f"/r/{await link(shops, 'clicktoken3')}", headers=PHONE)
    async with SqlStore.open(database_url, ids=Uuid7Ids(), secret_key=b"k" * 32) as store, store.system() as s:
        assert [row.n for row in (await s._scope.connection.execute(select(t.link_clicks.c.n))).all()] == [1]


async def test_unsubscribe_page_changes_nothing_and_its_button_does(shops: World) -> None:
    contact = await shops.mine.contact("+919812345678")
    other = await shops.theirs.contact("+919812345678")
    path = f"/unsubscribe/{unsubscribe_token(contact.id, UNSUBSCRIBE_KEY)}"
    for _ in range(2):
        page = await shops.client.get(path)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert '<form method="post">' in page.text
        assert "script" not in page.text
    assert (await shops.data("GET", f"/contacts/{contact.id}"))["smsConsent"] == "opted_in"
    for body in (b"", b"List-Unsubscribe=One-Click"):
        done = await shops.client.post(
            path, content=body, headers={"content-type": "application/x-www-form-urlencoded"}
        )
        assert done.status_code == 200
    assert (await shops.data("GET", f"/contacts/{contact.id}"))["smsConsent"] == "opted_out"
    assert (await shops.data("GET", f"/contacts/{other.id}", shop=shops.theirs))["smsConsent"] == "opted_in"
    assert (await shops.data("GET", "/dashboard"))["reports"]["last7Days"]["unsubscribes"] == 1


async def test_forged_unsubscribe_tokens_are_404(shops: World) -> None:
    contact = await shops.mine.contact("+919812345678")
    good = unsubscribe_token(contact.id, UNSUBSCRIBE_KEY)
    forged = [
        unsubscribe_token(contact.id, b"another key of thirty-two bytes!"),
        unsubscribe_token(ContactId(uuid4()), UNSUBSCRIBE_KEY)[:-4] + "AAAA",
        good[:-1],
        good + "A",
        good.swapcase(),
        "x",
        "%00",
    ]
    for token in forged:
        for method in ("GET", "POST"):
            assert (await shops.client.request(method, f"/unsubscribe/{token}")).status_code == 404, token
    nobody = unsubscribe_token(ContactId(uuid4()), UNSUBSCRIBE_KEY)
    assert (await shops.client.post(f"/unsubscribe/{nobody}")).status_code == 404
    assert (await shops.data("GET", f"/contacts/{contact.id}"))["smsConsent"] == "opted_in"


@pytest.mark.parametrize(
    "origin", ["https://astronote.onrender.com", "https://admin.shopify.com", "https://a.myshopify.com"]
)
async def test_documented_origins_may_call(shops: World, origin: str) -> None:
    preflight = await shops.client.options(
        "/campaigns",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,x-shopify-shop-domain",
        },
    )
    assert preflight.status_code == 204
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("authorization", "idempotency-key", "x-shopify-shop-domain"))
    answer = await shops.call("GET", "/settings", headers={"Origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    refused = await shops.client.get("/settings", headers={"Origin": origin})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin)


async def test_configured_origins_may_call_and_foreign_ones_get_nothing(database_url: str) -> None:
    async with world(database_url, config={"allowed_origins": ["https://mine.example/"]}) as shops:
        good = await shops.call("GET", "/settings", headers={"Origin": "https://mine.example"})
        assert good.headers["access-control-allow-origin"] == "https://mine.example"
        for origin in ("https://evil.example", "https://evilmyshopify.com", "https://x.myshopify.com.evil.com", "null"):
            answer = await shops.call("GET", "/settings", headers={"Origin": origin})
            assert answer.status_code == 200
            assert "access-control-allow-origin" not in answer.headers
            assert "Origin" in answer.headers["vary"]


async def test_without_a_database_everything_is_503_and_says_when_to_try_again() -> None:
    async with SqlStore.open("postgresql://u:p@127.0.0.1:1/none", ids=Uuid7Ids(), secret_key=b"k" * 32) as store:

        async def database() -> None:
            async with store.system() as s:
                await s.directory.list()

        app, _ = build(store, CountedHints(), probes=Probes(vital={"database": database}))
        async with started(app), client_of(app) as client:
            cases = [
                ("GET", "/campaigns", {"Authorization": "Bearer " + "cb_" + "x" * 43}),
                ("POST", "/webhooks/sms/delivery", {"X-Webhook-Signature": "x"}),
                ("POST", "/webhooks/shopify", {}),
                ("POST", "/webhooks/whatsapp", {}),
                ("GET", "/r/sometoken12", {}),
            ]
            for method, path, headers in cases:
                answer = await client.request(method, path, headers=headers, content=b"{}")
                assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE"), path
                assert int(answer.headers["retry-after"]) >= 1
                assert "127.0.0.1" not in answer.text
            assert (await client.get("/health/live")).status_code == 200
            ready = await client.get("/health/ready")
            assert (ready.status_code, ready.json()["failed"]) == (503, ["database"])
