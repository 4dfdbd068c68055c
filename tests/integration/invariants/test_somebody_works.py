"""Work that was recorded is found again by anybody; the API answers while it is done; health says who works."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Sequence

import attrs
import pytest
from tests.conftest import free_port
from tests.integration.invariants.street import Street, street
from tests.integration.runtime.conftest import Shell, answers, eventually, get, shell

from callboard.messages.model import Reason
from callboard_app.bootstrap import bootstrap
from callboard_app.serve import probes

__all__ = ["shell"]


async def test_a_restarted_worker_goes_on_where_another_one_died_and_repeats_nobody(both_urls: str, twin: str) -> None:
    async with street(both_urls, twin) as shops:
        await shops.contacts(70)
        campaign = await shops.campaign("survives")
        await shops.enqueue(campaign)
        await shops.twin.post("/_control/latency", json={"provider": "sms", "ms": 400})
        dying = asyncio.create_task(shops.worker.dispatch(lambda: False))
        while not await shops.sql("SELECT 1 FROM messages WHERE state = 'accepted'"):
            await asyncio.sleep(0.02)
        while not await shops.sql("SELECT 1 FROM messages WHERE state = 'sending'"):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)  # its second wave is at the provider
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        await shops.twin.post("/_control/latency", json={"provider": "sms", "ms": 0})
        await shops.work()
        assert (await shops.data("GET", f"/campaigns/{campaign}"))["status"] == "sending"  # its lease is not over
        await shops.sql("UPDATE chunks SET lease_until = created_at WHERE worker IS NOT NULL")
        await shops.work()
        await shops.work()
        assert (await shops.data("GET", f"/campaigns/{campaign}"))["status"] == "sent"
        figures = await shops.data("GET", f"/campaigns/{campaign}/metrics")
        got = [entry["to"] for entry in await shops.received()]
        assert len(got) == len(set(got))
        assert figures["accepted"] + figures["unknown"] == 70
        assert 0 < figures["unknown"] <= 32
        assert figures["byReason"] == {"worker_lost": figures["unknown"]}
        assert figures["accepted"] <= len(got) <= 70
        assert await shops.credits() == 930
        await shops.check_books()


async def test_a_campaign_is_finished_when_nothing_is_left_to_attempt_and_not_before(shops: Street) -> None:
    await shops.contacts(6)
    await shops.fault(kind="status", status=429, retry_after=1, next=1)
    campaign = await shops.campaign("waits for one")
    await shops.enqueue(campaign)
    await shops.work()
    figures = await shops.data("GET", f"/campaigns/{campaign}/metrics")
    assert (figures["accepted"], figures["queued"]) == (5, 1)
    assert (await shops.data("GET", f"/campaigns/{campaign}"))["status"] == "sending"
    await asyncio.sleep(1.4)
    await shops.work()
    assert (await shops.data("GET", f"/campaigns/{campaign}"))["status"] == "sent"
    assert len({entry["to"] for entry in await shops.received()}) == 6


async def test_every_recipient_ends_with_one_outcome_and_every_bad_one_with_its_reason(shops: Street) -> None:
    phones = await shops.contacts(6)
    for kind, who in {"reject": 0, "reset_after": 1}.items():
        for spelling in (phones[who], phones[who].removeprefix("+")):
            await shops.fault(kind=kind, match={"to": spelling}, always=True)
    campaign = await shops.campaign("outcomes")
    await shops.enqueue(campaign)
    contact = (await shops.data("GET", "/contacts", params={"search": phones[2]}))["contacts"][0]["id"]
    await shops.data("DELETE", f"/contacts/{contact}")
    await shops.work()
    rows = await shops.sql("SELECT phone, state, reason FROM messages ORDER BY phone")
    assert [row[0] for row in rows] == phones
    outcomes = {row[0]: (row[1], row[2]) for row in rows}
    assert [outcomes[p][0] for p in phones] == ["failed", "unknown", "skipped", "accepted", "accepted", "accepted"]
    assert all(outcomes[p][1] in {str(r) for r in Reason} for p in phones)
    assert len({outcomes[p] for p in phones[:3]}) == 3
    figures = await shops.data("GET", f"/campaigns/{campaign}/metrics")
    assert sum(figures["byReason"].values()) == 3
    assert set(figures["byReason"]) == {outcomes[p][1] for p in phones[:3]}


async def test_work_taken_while_the_broker_is_away_is_recorded_and_found(file_url: str, twin: str) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    async with street(file_url, twin, CALLBOARD_REDIS_URL=nowhere) as shops:
        await shops.contacts(3)
        campaign = await shops.campaign("no broker")
        assert (await shops.enqueue(campaign))["queuedRecipients"] == 3
        assert await shops.sql("SELECT count(*) FROM messages WHERE state = 'queued'") == [(3,)]
        async with bootstrap(attrs.evolve(shops.container.settings, redis_url=None)) as other:  # it was told nothing
            worker = other.duties("another process")
            while await worker.dispatch(lambda: False):
                pass
            assert await worker.relay() > 0
            assert await worker.deliver_due() > 0
        assert (await shops.data("GET", f"/campaigns/{campaign}"))["status"] == "sent"
        assert len(await shops.received()) == 3


async def test_health_names_a_missing_worker_and_forgets_one_that_left(shops: Street) -> None:
    asked = probes(shops.container)
    assert asked.degraded is not None
    assert await asked.degraded() == ["worker"]
    await shops.worker.beat("w1")
    assert await asked.degraded() == []
    await shops.worker.leave("w1")
    assert await asked.degraded() == ["worker"]


def count_answers(url: str, key: str, paths: Sequence[str], until: threading.Event) -> int:
    """How many GETs were answered, one after the other."""
    count = 0
    while not until.is_set():
        for path in paths:
            request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {key}"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status == 200
                answer.read()
            count += 1
    return count


@pytest.mark.timeout(150)
def test_the_api_answers_while_its_own_process_sends_five_thousand(shell: Shell) -> None:
    """The embedded default, where one process does both, on SQLite."""
    n, port, twin_port = 5_000, free_port(), free_port()
    url, twin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{twin_port}"
    shell.environ |= {
        "CALLBOARD_PROVIDERS": "sandbox",
        "CALLBOARD_SANDBOX_URL": twin,
        "CALLBOARD_PUBLIC_URL": url,
        "CALLBOARD_RATE_LIMIT": "0",
    }
    shell.start("sandbox", "--port", str(twin_port))
    shell.json("tenant", "create", "--slug", "shop", "--name", "Shop", "--credits", str(n))
    key = shell.json("key", "create", "--tenant", "shop", "--surface", "store")["key"]
    rows = "\n".join(f"+91{9_700_000_000 + i},P{i},opted_in" for i in range(n))
    (shell.folder / "people.csv").write_text(f"phone,firstName,smsConsent\n{rows}\n")
    shell.json("contacts", "import", "people.csv", "--tenant", "shop")
    shell.start("serve", "--port", str(port))
    assert eventually(lambda: answers(f"{url}/health/ready"), 60)

    def call(method: str, path: str, body: object = None) -> dict[str, object]:
        request = urllib.request.Request(
            url + path,
            method=method,
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, object] = json.loads(answer.read())["data"]
            return found

    campaign = call("POST", "/campaigns", {"name": "big", "message": "Hi {{firstName}}", "audience": "all"})["id"]
    assert call("POST", f"/campaigns/{campaign}/enqueue", {})["queuedRecipients"] == n
    done, counts = threading.Event(), list[int]()
    paths = ("/campaigns", "/dashboard", "/contacts", f"/campaigns/{campaign}/status")
    reader = threading.Thread(target=lambda: counts.append(count_answers(url, key, paths, done)))
    reader.start()

    def sent() -> bool:
        return len(get(f"{twin}/_control/stats")) > 0 and get(f"{twin}/_control/stats")["sms"]["accepted"] >= n

    try:
        assert eventually(sent, 110)
    finally:
        done.set()
        reader.join(40)
    assert counts, "a request was not answered within 30 s"
    assert counts[0] >= 20, "hardly anybody was answered while it was sending"
