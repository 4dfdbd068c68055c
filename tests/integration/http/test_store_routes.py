"""Every documented route: its own handler, its own credential, its own tenant, at both addresses."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import httpx
import jwt
from tests.integration.http.routes import NIL, PRIVATE, ROUTES, STRANGER, Route, fill, objects
from tests.integration.http.shop import World

from callboard.tenants.model import Surface

REFUSAL = {
    "success": False,
    "error": "unauthorized",
    "message": "Authentication required",
    "code": "UNAUTHORIZED",
}
UNKNOWN = {"success": False, "error": "not_found", "message": "Resource not found", "code": "NOT_FOUND"}


async def send(world: World, route: Route, ids: dict[str, str], prefix: str = "", **options: Any) -> httpx.Response:
    body = {} if route.body is None else {"json": fill(route.body, ids)}
    return await world.client.request(route.method, prefix + fill(route.path, ids), **(body | options))


async def test_table_and_api_document_hold_the_same_routes(shops: World) -> None:
    schema = (await shops.client.get("/schema/store/openapi.json")).json()
    documented = {
        (method.upper(), path.replace("_id}", "}"), operation["operationId"].removeprefix("Store"))
        for path, item in schema["paths"].items()
        for method, operation in item.items()
    }
    for route in ROUTES:
        found = [name for method, path, name in documented if (method, path) == (route.method, route.path)]
        assert len(found) == 1, route
        assert route.handler in found[0], route
    extra = {(method, path) for method, path, _ in documented} - {(route.method, route.path) for route in ROUTES}
    assert extra == {
        ("PATCH", "/campaigns/{campaign}"),
        ("PATCH", "/contacts/{contact}"),
        ("POST", "/campaigns/{campaign}/schedule"),
        ("HEAD", "/r/{token}"),
    }


async def test_api_document_tells_who_needs_a_credential_and_how_we_refuse(shops: World) -> None:
    schema = (await shops.client.get("/schema/store/openapi.json")).json()
    public = {route.path for route in ROUTES if route.public}
    for path, item in schema["paths"].items():
        for operation in item.values():
            open_to_all = operation.get("security", schema["security"]) == [{}]
            assert open_to_all == (path.replace("_id}", "}") in public), path
            answer = operation["responses"]["401"]["content"]["application/json"]["schema"]
            assert answer == {"$ref": "#/components/schemas/StoreErrorOut"}
    error = schema["components"]["schemas"]["StoreErrorOut"]
    assert set(error["properties"]) == {"success", "error", "message", "code", "details"}
    upload = schema["paths"]["/contacts/import"]["post"]["requestBody"]["content"]
    assert set(upload) == {"multipart/form-data", "application/json"}


async def test_routes_need_a_valid_credential_of_this_surface(shops: World) -> None:
    ids = dict.fromkeys(("campaign", "contact", "segment", "automation"), STRANGER)
    other = await shops.services.keys.create(shops.mine.tenant.id, surfaces=[Surface.CRM])
    revoked = await shops.services.keys.create(shops.mine.tenant.id, surfaces=[Surface.STORE])
    await shops.services.keys.revoke(shops.mine.tenant.id, revoked.credential.id)
    claims = {"sub": "u", "tenant": str(shops.mine.tenant.id), "aud": ["store"], "exp": int(time.time()) + 60}
    invalid = (
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Basic {shops.mine.key}",
        shops.mine.key,
        f"Bearer {shops.mine.key}x",
        f"Bearer {revoked.text}",
        f"Bearer {shops.mine.token(ttl=timedelta(seconds=-5))}",
        f"Bearer {shops.mine.token(secret='another secret of thirty-two characters')}",
        f"Bearer {jwt.encode(claims, '', algorithm='none')}",
    )
    for route in PRIVATE:
        for prefix in ("", "/store"):
            for header in invalid:
                headers = {} if header is None else {"Authorization": header}
                answer = await send(shops, route, ids, prefix, headers=headers)
                assert (answer.status_code, answer.json()) == (401, REFUSAL), (str(route), header)
            for credential in (other.text, shops.mine.token(Surface.CRM, Surface.BOT)):
                answer = await send(shops, route, ids, prefix, headers={"Authorization": f"Bearer {credential}"})
                assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), str(route)


async def test_401_comes_before_every_look_at_the_body(shops: World) -> None:
    for body in (b"{", b"\xff", b"[" * 100_000, b"x" * 2_000_000):
        answer = await shops.client.post("/campaigns", content=body, headers={"content-type": "text/plain"})
        assert (answer.status_code, answer.json()) == (401, REFUSAL)


async def test_tenant_comes_from_the_credential_and_nothing_else(shops: World) -> None:
    await shops.mine.contacts(2)
    theirs = {"X-Shopify-Shop-Domain": "theirs.myshopify.com", "X-Shop-Domain": "theirs", "X-Store-ID": "theirs"}
    query = f"shop=theirs&tenant={shops.theirs.tenant.id}&workspace_id={shops.theirs.tenant.id}"
    assert (await shops.data("GET", f"/contacts?{query}", headers=theirs))["total"] == 2
    assert (await shops.data("GET", "/contacts", shop=shops.theirs))["total"] == 0


async def snapshot(world: World, shop: Any) -> list[bytes]:
    """Everything a shop can see."""
    lists = ["/dashboard", "/campaigns", "/contacts", "/audiences/segments", "/automations", "/settings", "/templates"]
    return [(await world.call("GET", path, shop=shop)).content for path in [*lists, "/campaigns/stats/summary"]]


async def test_other_shops_objects_are_unknown_on_every_route(shops: World) -> None:
    theirs = await objects(shops, shops.theirs)
    mine = await objects(shops, shops.mine)
    before = await snapshot(shops, shops.theirs)
    for route in [route for route in PRIVATE if route.needs]:
        for prefix in ("", "/store"):
            foreign = await send(
                shops, route, mine | {route.needs or "": theirs[route.needs or ""]}, prefix, headers=shops.mine.auth
            )
            unknown = await send(shops, route, mine | {route.needs or "": STRANGER}, prefix, headers=shops.mine.auth)
            assert (foreign.status_code, foreign.json()) == (404, UNKNOWN), route
            assert foreign.content == unknown.content, route
    for body in (
        {"name": "X", "message": "M", "audience": {"type": "segment", "segmentId": theirs["segment"]}},
        {"name": "X", "message": "M", "audience": f"segment:{theirs['segment']}"},
    ):
        foreign = await shops.call("POST", "/campaigns", json=body)
        unknown = await shops.call("POST", "/campaigns", json=fill(body, {}) | {"audience": f"segment:{STRANGER}"})
        assert foreign.status_code == 404
        assert foreign.content == unknown.content
    for method in ("POST", "DELETE"):
        path = f"/audiences/segments/{mine['segment']}/members"
        await shops.call(method, path, json={"contactIds": [theirs["contact"]]})
    answer = await shops.call("POST", "/audiences/segments", json={"name": "Y", "contactIds": [theirs["contact"]]})
    assert (answer.status_code, answer.json()) == (404, UNKNOWN)
    answer = await shops.call("POST", "/events", json={"type": "order_placed", "contact": {"id": theirs["contact"]}})
    assert (answer.status_code, answer.json()) == (404, UNKNOWN)
    segment = await shops.data("GET", f"/audiences/segments/{mine['segment']}/members")
    assert [contact["id"] for contact in segment["contacts"]] == [mine["contact"]]
    assert await snapshot(shops, shops.theirs) == before


MALFORMED = [
    "x",
    NIL,
    STRANGER.upper(),
    "1",
    "campaign123",
    "a" * 2000,
    "..%2fcontacts",
    "%00",
    "%ff",
    "{id}",
    f"{{{STRANGER}}}",
    "-",
]


async def test_malformed_id_is_as_unknown_as_an_unknown_one(shops: World) -> None:
    for bad in MALFORMED:
        ids = dict.fromkeys(("campaign", "contact", "segment", "automation"), bad)
        for route in [route for route in PRIVATE if route.needs]:
            answer = await send(shops, route, ids, headers=shops.mine.auth)
            assert (answer.status_code, answer.json()) == (404, UNKNOWN), (str(route), bad)


async def test_both_addresses_give_the_same_bytes(shops: World) -> None:
    ids = await objects(shops, shops.mine)
    for route in [route for route in PRIVATE if route.method == "GET"]:
        root = await send(shops, route, ids, headers=shops.mine.auth)
        mounted = await send(shops, route, ids, "/store", headers=shops.mine.auth)
        assert root.status_code == mounted.status_code == 200, route
        assert root.content == mounted.content, route


async def test_every_route_works(shops: World) -> None:
    for route in PRIVATE:
        if route.handler in {"Pause", "Resume", "RetryFailed"}:
            continue  # they need a campaign on its way: test_store_campaigns
        async_shop = shops.mine
        ids = await fresh_objects(shops, async_shop)
        answer = await send(shops, route, ids, headers=async_shop.auth)
        assert answer.status_code in {200, 201, 202}, (str(route), answer.text)
        assert answer.json()["success"] is True


async def fresh_objects(world: World, shop: Any) -> dict[str, str]:
    """New objects for each route, as some of them delete what they are given."""
    stamp = time.monotonic_ns() % 10**7
    contact = await shop.contact(f"+91981{stamp:07}")
    campaign = await world.campaign(f"C{stamp}")
    segment = await world.data(
        "POST", "/audiences/segments", status=201, json={"name": f"L{stamp}", "contactIds": [str(contact.id)]}
    )
    automation = await world.data(
        "POST", "/automations", status=201, json={"name": "A", "triggerType": "welcome", "message": "Hi"}
    )
    return {
        "contact": str(contact.id),
        "campaign": campaign["id"],
        "segment": segment["id"],
        "automation": automation["id"],
    }
