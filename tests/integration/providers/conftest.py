"""A twin per test, beside it in a thread, and ways to talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from callboard_adapters.outbound import Outbound, OutboundLimits
from callboard_adapters.sandbox import CallbackConfig, MittoConfig, NumberConfig, SandboxConfig, WhatsAppConfig
from callboard_adapters.sandbox.serve import sandbox_thread

FAST = CallbackConfig(delay_ms=(10, 10, 10), window_ms=10, parallel=1, retry_ms=(20, 20, 20))


class Twin:
    """The control API, as a test uses it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.AsyncClient(base_url=f"{url}/_control", trust_env=False, timeout=10)

    async def post(self, path: str, **body: Any) -> Any:
        answer = await self.http.post(path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def received(self, provider: str, since: int = 0) -> list[Any]:
        page = await self.get("/received", provider=provider, since=since)
        return list(page["received"])

    async def stats(self, provider: str) -> Any:
        return (await self.get("/stats"))[provider]


@pytest.fixture(scope="module")
def twin_url() -> Iterator[str]:
    config = SandboxConfig(
        sms=MittoConfig(keys=("key-1", "key-2"), callbacks=FAST),
        whatsapp=WhatsAppConfig(
            numbers={"1065": NumberConfig(token="token-1"), "1066": NumberConfig(token="token-2")}, callbacks=FAST
        ),
    )
    with sandbox_thread(config) as url:
        yield url


@pytest.fixture
async def twin(twin_url: str) -> AsyncIterator[Twin]:
    twin = Twin(twin_url)
    before = await twin.get("/config")
    await twin.post("/reset")
    yield twin
    await twin.post("/config", **before)
    await twin.post("/reset")
    await twin.http.aclose()


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    async with Outbound(OutboundLimits(read=1.0, deadline=3.0, body=100_000)) as outbound:
        yield outbound
