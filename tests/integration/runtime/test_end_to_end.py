"""The embedded default inside this process: server, worker thread and twin; import, send, receipts, report by HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from tests.conftest import free_port

from callboard.tenants.model import Surface
from callboard_adapters.sandbox import CallbackConfig, MittoConfig, SandboxConfig
from callboard_adapters.sandbox.serve import sandbox_thread
from callboard_app.bootstrap import bootstrap, prepare
from callboard_app.serve import Server
from callboard_app.settings import Settings, load

CSV = """phone,firstName,lastName,gender,birthDate,smsConsent
9876500001,Asha,Rao,female,1990-01-01,opted_in
9876500002,,Iyer,female,,opted_in
9876500003,Ravi,Das,male,1985-05-05,opted_in
9879990001,Refused,One,female,,opted_in
9879990002,Fails,Later,female,,opted_in
9876500004,Out,One,female,,opted_out
9876500001,Asha,Again,female,,opted_in
nonsense,No,Phone,female,,opted_in
"""


@asynccontextmanager
async def serving(settings: Settings, port: int) -> AsyncIterator[None]:
    server = uvicorn.Server(
        uvicorn.Config(Server(settings), host="127.0.0.1", port=port, log_config=None, access_log=False, lifespan="on")
    )
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(30):
        while not server.started:
            assert not task.done(), "the server did not start"
            await asyncio.sleep(0.02)
    yield
    server.should_exit = True
    await task


@pytest.mark.timeout(120)
async def test_from_a_file_to_a_report(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    callbacks = CallbackConfig(delay_ms=(20, 40), window_ms=10)
    config = SandboxConfig(sms=MittoConfig(delivery_url=f"{url}/webhooks/sms/delivery", callbacks=callbacks))
    with sandbox_thread(config) as twin:
        settings = load(
            {
                "CALLBOARD_DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}",
                "CALLBOARD_PROVIDERS": "sandbox",
                "CALLBOARD_SANDBOX_URL": twin,
                "CALLBOARD_PUBLIC_URL": url,
            }
        )
        async with bootstrap(settings) as container:
            await prepare(container)
            shop = await container.tenants.create(slug="shop", name="Shop")
            await container.equip(shop)
            await container.credits.grant(shop.id, 10)
            token = container.issue_token(shop.id, "u", [Surface.STORE], timedelta(minutes=5))
        headers = {"Authorization": f"Bearer {token}"}
        async with serving(settings, port), httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:

            async def data(method: str, path: str, **request: Any) -> Any:
                answer = await client.request(method, f"/store{path}", **request)
                assert answer.is_success, answer.text
                return answer.json()["data"]

            imported = await data("POST", "/contacts/import", files={"file": ("p.csv", CSV.encode(), "text/csv")})
            assert (imported["created"], imported["skipped"], imported["invalid"], imported["total"]) == (6, 1, 1, 8)
            segments = (await data("GET", "/audiences/segments"))["segments"]
            women = next(s for s in segments if s["key"] == "gender_female")
            preview = await data("GET", f"/audiences/segments/{women['id']}/preview")
            assert preview["estimatedCount"] == 4
            made = await data(
                "POST",
                "/campaigns",
                json={
                    "name": "Sale",
                    "message": "Hi {{firstName|there}}!\nhttps://shop.example.com/sale",
                    "audience": {"type": "segment", "segmentId": women["id"]},
                },
            )
            queued = await data("POST", f"/campaigns/{made['id']}/enqueue")
            assert queued == {"status": "queued", "queuedRecipients": 4, "creditsDebited": 4}

            async with asyncio.timeout(30):
                while True:
                    shown = await data("GET", f"/campaigns/{made['id']}")
                    if shown["status"] == "sent" and shown["deliveredCount"] == 2 and shown["failedCount"] == 2:
                        break
                    await asyncio.sleep(0.1)
            assert (shown["recipientCount"], shown["sentCount"]) == (4, 3)
            board = await data("GET", "/dashboard")
            assert board["credits"] == 10 - 4 + 1  # the one refused before acceptance came back
            received = msgspec.json.decode((await client.get(f"{twin}/_control/received?provider=sms")).content)
            texts = {entry["to"]: entry["body"]["sms"]["text"] for entry in received["received"]}
            assert set(texts) == {"+919876500001", "+919876500002", "+919879990002"}
            assert texts["+919876500001"].startswith("Hi Asha!\n")
            assert texts["+919876500002"].startswith("Hi there!\n")
            link = next(word for word in texts["+919876500001"].split() if "/r/" in word)
            visit = await client.get(link, headers={"User-Agent": "Mozilla/5.0"})
            assert (visit.status_code, visit.headers["location"]) == (302, "https://shop.example.com/sale")
            unsubscribe = next(word for word in texts["+919876500001"].split() if "/unsubscribe/" in word)
            assert (await client.get(unsubscribe)).status_code == 200
            assert (await data("GET", f"/audiences/segments/{women['id']}/preview"))[
                "estimatedCount"
            ] == 4  # only looked
            assert (await client.post(unsubscribe)).is_success
            assert (await data("GET", f"/audiences/segments/{women['id']}/preview"))["estimatedCount"] == 3
