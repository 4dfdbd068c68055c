"""The layers round every surface: addresses, ids, headers, CORS, refusals in the surface's own words."""

from __future__ import annotations

import re

import httpx
import pytest
import structlog
from tests.unit.http.probe import serving, surface

from callboard_adapters.http.health import Probes
from callboard_adapters.http.surface import ROOT_PATHS, CorsPolicy, Surfaces

ALL = tuple(surface(name) for name in ("store", "bot", "crm", "assistant", "booking"))


@pytest.mark.parametrize(
    ("path", "owners"),
    [
        ("/dashboard", ["store"]),
        ("/campaigns", ["store"]),
        ("/campaigns/x/enqueue", ["store"]),
        ("/contacts/import", ["store"]),
        ("/audiences/segments", ["store"]),
        ("/automations/x/status", ["store"]),
        ("/templates", ["store"]),
        ("/settings", ["store"]),
        ("/events", ["store"]),
        ("/unsubscribe/x", ["store"]),
        ("/r/x", ["store"]),
        ("/webhooks/sms/delivery", ["store"]),
        ("/webhooks/shopify", ["store"]),
        ("/api/stats/overview", ["bot"]),
        ("/webhooks/chicx/otp", ["bot"]),
        ("/webhooks/bolna", ["bot"]),
        ("/webhooks/whatsapp", ["bot", "store"]),
        ("/api/dashboard/stats", ["crm"]),
        ("/api/leads", ["crm"]),
        ("/api/tasks/1", ["crm"]),
        ("/api/deals", ["crm"]),
        ("/api/meta/status", ["crm"]),
        ("/api/webhook/meta-lead", ["crm"]),
        ("/api/settings/config", ["crm"]),
        ("/api/settings/regenerate-key", ["crm"]),
        ("/api/verification/start", ["assistant"]),
        ("/api/verification-results", ["assistant"]),
        ("/api/campaigns/run", ["assistant"]),
        ("/api/campaign-results", ["assistant"]),
        ("/api/settings/webhooks/1/test", ["assistant"]),
        ("/api/settings/campaign-jobs", ["assistant"]),
        ("/api/upload/1/status", ["assistant"]),
        ("/api/requests/samples", ["assistant"]),
        ("/api/contacts", ["crm", "assistant"]),
        ("/api/contacts/1", ["crm", "assistant"]),
        ("/api/campaigns", ["crm", "assistant"]),
        ("/api/campaigns/1/run", ["crm", "assistant"]),
        ("/integrations/status", ["booking"]),
        ("/v1/integrations/status", ["booking"]),
        ("/appointments", ["booking"]),
        ("/customers", ["booking"]),
        ("/calls", ["booking"]),
        ("/webhooks/zapier/u1/subscriptions", ["booking"]),
        ("/", []),
        ("/api", []),
        ("/api/settings", []),
        ("/api/statsx", []),
        ("/webhooks", []),
        ("/campaign", []),
        ("/rr", []),
        ("/health/ready", []),
        ("/schema", []),
    ],
)
def test_root_path_belongs_to_the_surfaces_of_the_table(path: str, owners: list[str]) -> None:
    assert [claimant.name for claimant in Surfaces(served=ALL).claimants(path)] == owners


def test_no_root_path_is_named_like_a_surface() -> None:
    assert not {path for path, _ in ROOT_PATHS} & {f"/{owner.name}" for owner in ALL}


async def test_root_and_mounted_address_are_the_same_handler() -> None:
    async with serving(surface("store")) as client:
        for path in ("/contacts/7", "/contacts?page=3"):
            root, mounted = await client.get(path), await client.get(f"/store{path}")
            assert (root.status_code, root.content) == (mounted.status_code, mounted.content) == (200, root.content)


async def test_surface_that_is_not_served_is_a_404_in_the_default_shape() -> None:
    async with serving(surface("store")) as client:
        for path in ("/api/leads", "/crm/api/leads", "/appointments", "/nowhere", "/bot"):
            answer = await client.get(path)
            assert answer.status_code == 404
            assert answer.json() == {
                "success": False,
                "error": "not_found",
                "message": "Resource not found",
                "code": "NOT_FOUND",
            }


@pytest.mark.parametrize(
    ("valid_for", "chosen"),
    [(["crm"], "crm"), (["assistant"], "assistant"), (["assistant", "crm"], "crm"), ([], "crm")],
)
async def test_path_claimed_twice_goes_where_the_credential_is_valid(valid_for: list[str], chosen: str) -> None:
    both = [surface(name, root="/api/contacts") for name in ("assistant", "crm")]
    async with serving(*both, valid_for=valid_for) as client:
        assert (await client.get("/api/contacts/who")).json() == {"surface": chosen}
        assert (await client.get("/api/contacts/nope")).json()["surface"] == chosen


async def test_refusals_of_every_layer_come_in_the_surface_s_own_shape() -> None:
    async with serving(surface("store"), surface("crm", root="/api/leads")) as client:
        cases = [
            ("GET", "/store/nowhere", 404, "NOT_FOUND"),
            ("GET", "/campaigns", 404, "NOT_FOUND"),
            ("DELETE", "/contacts", 405, "METHOD_NOT_ALLOWED"),
            ("FOO", "/contacts", 405, "METHOD_NOT_ALLOWED"),
            ("TRACE", "/contacts", 405, "METHOD_NOT_ALLOWED"),
            ("GET", "/contacts/odd", 400, "ODD"),
            ("GET", "/contacts?page=x", 400, "VALIDATION_ERROR"),
            ("GET", "/contacts?x=%ff", 400, "VALIDATION_ERROR"),
            ("GET", "/contacts/boom", 500, "INTERNAL_ERROR"),
        ]
        for method, path, status, code in cases:
            answer = await client.request(method, path)
            assert (answer.status_code, answer.json()["surface"], answer.json()["code"]) == (status, "store", code), (
                path
            )
            assert answer.headers["content-type"] == "application/json"
        assert (await client.get("/api/leads/nope")).json()["surface"] == "crm"
        assert (await client.delete("/contacts")).headers["allow"]


async def test_unexpected_error_tells_neither_caller_nor_log_what_it_says() -> None:
    with structlog.testing.capture_logs() as lines:
        async with serving(surface("store")) as client:
            answer = await client.get("/contacts/boom")
    assert "secret" not in answer.text
    assert "9812345678" not in repr(lines)
    assert [line["event"] for line in lines] == ["request.failed", "request.answered"]
    assert lines[0]["error"] == "RuntimeError"


async def test_one_access_line_with_the_template_and_without_the_payload() -> None:
    with structlog.testing.capture_logs() as lines:
        async with serving(surface("store")) as client:
            await client.get("/contacts/919812345678?page=secret", headers={"Authorization": "Bearer key"})
            await client.get("/no/919812345678")
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/store/contacts/{thing_id}", 200),
        ("unmatched", 404),
    ]
    assert "9812345678" not in repr(lines)
    assert "secret" not in repr(lines)


# --- ids and headers ----------------------------------------------------------------------------------------------


async def ids(client: httpx.AsyncClient, path: str = "/contacts", **headers: str) -> tuple[str, str]:
    answer = await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return answer.headers["x-request-id"], answer.headers["x-correlation-id"]


async def test_correlation_ids_come_back_also_on_unmatched_paths() -> None:
    async with serving(surface("store")) as client:
        assert await ids(client, x_request_id="a") == ("a", "a")
        assert await ids(client, x_correlation_id="b c~") == ("b c~", "b c~")
        assert await ids(client, x_request_id="a", x_correlation_id="b") == ("a", "b")
        assert await ids(client, "/nowhere", x_request_id="!" * 128) == ("!" * 128, "!" * 128)
        fresh = await ids(client)
        assert fresh[0] == fresh[1]
        assert re.fullmatch(r"[0-9a-f]{32}", fresh[0])


@pytest.mark.parametrize("bad", [b"x" * 129, b"", b"\xff\xfe", "ü".encode(), b"a\tb", b"a\x7f"])
async def test_unusable_correlation_id_is_replaced(bad: bytes) -> None:
    async with serving(surface("store")) as client:
        answer = await client.get("/contacts", headers=[(b"x-request-id", bad)])
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
        assert answer.status_code == 200


async def test_security_headers_on_every_answer() -> None:
    async with serving(surface("store")) as plain, serving(surface("store"), production=True) as production:
        for path in ("/contacts", "/nowhere", "/contacts/boom", "/health/live"):
            headers = (await plain.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers
            assert "strict-transport-security" not in headers
            assert "max-age" in (await production.get(path)).headers["strict-transport-security"]


# --- CORS ---------------------------------------------------------------------------------------------------------

SHOPS = CorsPolicy(
    origins=frozenset({"https://app.example"}), patterns=(re.compile(r"https://[a-z0-9][a-z0-9-]*\.myshopify\.com"),)
)


@pytest.mark.parametrize(
    "origin", ["https://app.example", "https://a.myshopify.com", "https://my-shop-1.myshopify.com"]
)
async def test_known_origin_is_echoed_with_credentials(origin: str) -> None:
    async with serving(surface("store", cors=SHOPS)) as client:
        for path in ("/contacts", "/contacts/odd", "/store/nowhere"):
            headers = (await client.get(path, headers={"Origin": origin})).headers
            assert headers["access-control-allow-origin"] == origin
            assert headers["access-control-allow-credentials"] == "true"
            assert headers["vary"] == "Origin"
        preflight = await client.options(
            "/contacts", headers={"Origin": origin, "Access-Control-Request-Method": "DELETE"}
        )
        assert preflight.status_code == 204
        assert "DELETE" in preflight.headers["access-control-allow-methods"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://evilmyshopify.com",
        "https://a.b.myshopify.com",
        "https://.myshopify.com",
        "https://-a.myshopify.com",
        "https://a.myshopify.com.evil.com",
        "https://a.myshopify.com:8443",
        "http://a.myshopify.com",
        "https://a.myshopify.com/",
        "https://a.myshopify.com\n",
        "https://A.myshopify.com",
        "https://a_b.myshopify.com",
        "https://evil.com#.myshopify.com",
        "https://evil.com/.myshopify.com",
        "https://user@a.myshopify.com",
        "https://app.example.evil.com",
        "https://app.example:444",
        "http://app.example",
        "HTTPS://APP.EXAMPLE",
        "null",
        "*",
        "",
        "https://app.example https://evil.com",
        "file://",
        "https://äpp.example",
    ],
)
async def test_foreign_origin_gets_no_cors_headers(origin: str) -> None:
    async with serving(surface("store", cors=SHOPS)) as client:
        raw = [(b"origin", origin.encode().replace(b"\n", b"%0a"))]
        for method in ("GET", "OPTIONS"):
            answer = await client.request(
                method, "/contacts", headers=[*raw, (b"access-control-request-method", b"POST")]
            )
            assert answer.status_code in (200, 204)
            assert not [name for name in answer.headers if name.startswith("access-control")]


# --- paths and queries that are no text ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/contacts/a%00b", "/contacts/%ff", "/contacts/%ed%a0%80", "/contacts/" + "x" * 3000])
async def test_path_that_is_no_text_is_unknown(path: str) -> None:
    async with serving(surface("store")) as client:
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["surface"]) == (404, "store")


@pytest.mark.parametrize("query", ["page=", "page", "=&&x=", "unknown=1", "x=%zz", "page=&page="])
async def test_empty_and_unknown_query_parameters_are_ignored(query: str) -> None:
    async with serving(surface("store")) as client:
        answer = await client.get(f"/contacts?{query}")
        assert (answer.status_code, answer.json()) == (200, {"page": None})


@pytest.mark.parametrize("value", ["x", "1.5", "%00", "%ff", "9" * 5000, "0x10", "--1", "%20", "１"])
async def test_query_parameter_that_is_no_number_is_400_by_name(value: str) -> None:
    async with serving(surface("store")) as client:
        answer = await client.get(f"/contacts?page={value}")
        assert answer.status_code == 400
        assert answer.json()["details"]["field"] in {"page", "query"}


# --- health -------------------------------------------------------------------------------------------------------


async def fine() -> None:
    return


async def down() -> None:
    raise ConnectionError("no")


async def test_readiness_tells_vital_from_helpful() -> None:
    async def none() -> list[str]:
        return []

    async def idle() -> list[str]:
        return ["worker"]

    cases = [
        (Probes(vital={"database": fine}, degraded=none), 200, {"status": "ready"}),
        (
            Probes(vital={"database": down}, helpful={"broker": down}),
            503,
            {"status": "unavailable", "failed": ["database"]},
        ),
        (
            Probes(vital={"database": fine}, helpful={"broker": down}, degraded=idle),
            200,
            {"status": "ready", "degraded": ["broker", "worker"]},
        ),
    ]
    for probes, status, body in cases:
        async with serving(surface("store"), probes=probes) as client:
            assert (await client.get("/health/live")).status_code == 200
            answer = await client.get("/health/ready")
            assert (answer.status_code, answer.json()) == (status, body)


async def test_metrics_count_by_template_and_show_messages() -> None:
    async def states() -> dict[str, int]:
        return {"queued": 3}

    async with serving(surface("store"), probes=Probes(messages_by_state=states)) as client:
        await client.get("/contacts/919812345678")
        text = (await client.get("/metrics")).text
    assert (
        'callboard_http_requests_total{method="GET",'
        'route="/store/contacts/{thing_id}",status="200",surface="store"} 1.0' in text
    )
    assert 'callboard_messages{state="queued"} 3' in text
    assert "9812345678" not in text


# --- API documents ------------------------------------------------------------------------------------------------


async def test_schema_page_needs_nothing_from_elsewhere() -> None:
    async with serving(surface("store")) as client:
        page = (await client.get("/schema")).text
        assert "://" not in page
        for url in re.findall(r'(?:src|href)="([^"]+)"', page):
            assert (await client.get(url)).status_code == 200, url
        assert (await client.get("/schema/static/..%2f..%2fapp.py")).status_code == 404
        assert (await client.get("/schema/static/LICENSE")).status_code == 404


async def test_each_surface_has_its_own_document() -> None:
    async with serving(surface("store"), surface("crm", root="/api/leads")) as client:
        store = (await client.get("/schema/store/openapi.json")).json()
        whole = (await client.get("/schema/openapi.json")).json()
        assert set(store["paths"]) == {"/contacts", "/contacts/{thing_id}", "/who"}
        assert store["servers"] == [{"url": "/store"}, {"url": "/"}]
        assert {"/store/contacts", "/crm/api/leads/who"} <= set(whole["paths"])
        assert (await client.get("/schema/bot/openapi.json")).status_code == 404
