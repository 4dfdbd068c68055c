"""``Idempotency-Key``: one effect, one answer, whoever asks and however often."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import httpx
import pytest
from tests.integration.http.shop import World, world

KEY = {"Idempotency-Key": "key-1"}


async def test_eight_at_once_are_one_effect_and_the_same_bytes(shops: World) -> None:
    await shops.mine.contacts(5)
    campaign = await shops.campaign()
    path = f"/campaigns/{campaign['id']}/enqueue"
    answers = await asyncio.gather(*(shops.call("POST", path, headers=KEY) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["data"] == {"status": "queued", "queuedRecipients": 5, "creditsDebited": 5}
    assert (await shops.data("GET", "/dashboard"))["credits"] == 995
    late = await shops.call("POST", path, headers=KEY)
    assert late.content == answers[0].content
    assert late.headers["content-type"] == "application/json"
    assert late.headers["idempotency-replayed"] == "true"


async def test_twenty_without_a_key_are_one_effect_and_nineteen_conflicts(shops: World) -> None:
    await shops.mine.contacts(2)
    campaign = await shops.campaign()
    calls = (shops.call("POST", f"/campaigns/{campaign['id']}/enqueue") for _ in range(20))
    answers: list[httpx.Response] = await asyncio.gather(*calls)
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"ALREADY_SENDING"}
    assert (await shops.data("GET", "/dashboard"))["credits"] == 998


async def test_key_with_another_body_is_422(shops: World) -> None:
    body = {"name": "N", "message": "M", "audience": "all"}
    first = await shops.call("POST", "/campaigns", json=body, headers=KEY)
    assert first.status_code == 201
    again = await shops.call("POST", "/campaigns", json=body, headers=KEY)
    assert (again.status_code, again.content) == (201, first.content)
    other = await shops.call("POST", "/campaigns", json=body | {"name": "O"}, headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (await shops.call("GET", "/campaigns")).json()["pagination"]["total"] == 1


async def test_refused_request_stores_nothing(shops: World) -> None:
    campaign = await shops.campaign()
    path = f"/campaigns/{campaign['id']}/enqueue"
    refused = await shops.call("POST", path, headers=KEY)
    assert (refused.status_code, refused.json()["code"]) == (400, "NO_RECIPIENTS")
    assert (await shops.data("GET", f"/campaigns/{campaign['id']}"))["status"] == "draft"
    await shops.mine.contacts(1)
    assert (await shops.call("POST", path, headers=KEY)).status_code == 200
    bad = await shops.call("POST", "/campaigns", json={"name": ""}, headers={"Idempotency-Key": "k2"})
    good = await shops.call(
        "POST", "/campaigns", json={"name": "N", "message": "M", "audience": "all"}, headers={"Idempotency-Key": "k2"}
    )
    assert (bad.status_code, good.status_code) == (400, 201)
    assert (await shops.client.post("/campaigns", json={}, headers=KEY)).status_code == 401


async def test_key_belongs_to_one_tenant_and_one_operation(shops: World) -> None:
    body = {"name": "N", "message": "M", "audience": "all"}
    mine = await shops.call("POST", "/campaigns", json=body, headers=KEY)
    theirs = await shops.call("POST", "/campaigns", json=body, headers=KEY, shop=shops.theirs)
    assert mine.json()["data"]["id"] != theirs.json()["data"]["id"]
    contact = await shops.call("POST", "/contacts", json={"phone": "9812345678"}, headers=KEY)
    assert contact.status_code == 201
    mounted = await shops.call("POST", "/store/campaigns", json=body, headers=KEY)
    assert mounted.content == mine.content


@pytest.mark.parametrize("key", [b"", b"x" * 256, "schlüssel".encode(), b"a b", b"\x7f"])
async def test_unusable_key_is_400(shops: World, key: bytes) -> None:
    headers = [(b"authorization", f"Bearer {shops.mine.key}".encode()), (b"idempotency-key", key)]
    answer = await shops.client.post(
        "/campaigns", json={"name": "N", "message": "M", "audience": "all"}, headers=headers
    )
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, "Idempotency-Key")


async def test_import_with_another_boundary_is_the_same_body(shops: World) -> None:
    def form(boundary: str) -> dict[str, Any]:
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
            f"phone\n9812345678\n\r\n--{boundary}--\r\n"
        )
        return {
            "content": body.encode(),
            "headers": KEY | {"content-type": f"multipart/form-data; boundary={boundary}"},
        }

    first = await shops.call("POST", "/contacts/import", **form("----one"))
    again = await shops.call("POST", "/contacts/import", **form("----two"))
    assert first.status_code == 200, first.text
    assert first.json()["data"]["created"] == 1
    assert again.content == first.content


async def test_first_call_that_takes_too_long_is_409_with_retry_after(shops: World) -> None:
    campaign = await shops.campaign()
    path = f"/store/campaigns/{campaign['id']}/enqueue"
    tenant = shops.mine.tenant.id
    store = shops.services.idempotency
    await store.begin(tenant, f"POST {path}", "key-1", hashlib.sha256(b"").digest())
    answer = await shops.call("POST", path, headers=KEY, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (409, "REQUEST_IN_FLIGHT")
    assert int(answer.headers["retry-after"]) >= 1
    await store.forget(tenant, f"POST {path}", "key-1")
    assert (await shops.call("POST", path, headers=KEY)).json()["code"] == "NO_RECIPIENTS"


async def test_rate_limit_is_429_in_the_dialect_for_one_credential_only(database_url: str) -> None:
    async with world(database_url, config={"rate_limit": "5/minute"}) as shops:
        codes = [(await shops.call("GET", "/settings")).status_code for _ in range(7)]
        assert codes == [200] * 5 + [429] * 2
        refused = await shops.call("GET", "/settings")
        assert refused.json()["code"] == "RATE_LIMITED"
        assert refused.json()["success"] is False
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        assert (await shops.call("GET", "/settings", shop=shops.theirs)).status_code == 200
        assert (await shops.client.get("/r/unknowntoken")).status_code == 404
