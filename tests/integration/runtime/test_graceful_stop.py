"""SIGTERM ends a worker in time whatever is down, and leaves nothing unknown."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.conftest import free_port, redis_process
from tests.integration.runtime.conftest import Shell, eventually, get

from callboard_app.demo.people import write_csv


def stop(process, limit: float) -> int:  # type: ignore[no-untyped-def]
    began = time.monotonic()
    process.terminate()
    code = int(process.wait(limit + 5))
    assert time.monotonic() - began < limit
    return code


def test_without_a_database_a_worker_waits_and_still_stops(shell: Shell) -> None:
    worker = shell.start("worker", CALLBOARD_DATABASE_URL=f"postgresql://x@127.0.0.1:{free_port()}/x")
    log = shell.folder / "worker-0.log"
    assert eventually(lambda: "database.unavailable" in log.read_text())
    assert worker.poll() is None
    assert stop(worker, 10) == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.timeout(240)
def test_with_redis_killed_under_it_a_worker_sends_on_and_stops(shell: Shell, pg_url: str, tmp_path: Path) -> None:
    redis = redis_process(tmp_path, free_port())
    twin_port = free_port()
    twin = f"http://127.0.0.1:{twin_port}"
    shell.environ |= {
        "CALLBOARD_DATABASE_URL": pg_url,
        "CALLBOARD_REDIS_URL": redis.start(),
        "CALLBOARD_SECRET_KEY": "k" * 32,
        "CALLBOARD_PROVIDERS": "sandbox",
        "CALLBOARD_SANDBOX_URL": twin,
    }
    try:
        shell.start("sandbox", "--port", str(twin_port))
        shell.json("migrate")
        shell.json("tenant", "create", "--slug", "shop", "--name", "Shop", "--credits", "5000")
        shell.json("contacts", "import", str(write_csv(shell.folder / "p.csv", 400)), "--tenant", "shop")
        worker = shell.start("worker")
        assert eventually(lambda: "worker.started" in (shell.folder / "worker-1.log").read_text())
        redis.stop()
        words = ("campaign", "send", "--tenant", "shop", "--segment", "all", "--name", "a", "--message", "Hi", "--yes")
        sent = shell.json(*words)
        final = shell.json("campaign", "watch", "a", "--tenant", "shop", "--timeout", "60")
        assert final["status"] == "sent"
        assert get(f"{twin}/_control/stats")["sms"]["accepted"] + final["failed"] == sent["queuedRecipients"]
        assert stop(worker, 25) == 0
    finally:
        redis.stop()


@pytest.mark.timeout(240)
def test_a_worker_stopped_in_the_middle_of_a_campaign_leaves_nothing_unknown(shop: Shell) -> None:
    twin = shop.environ["CALLBOARD_SANDBOX_URL"]
    shop.json("contacts", "import", str(write_csv(shop.folder / "p.csv", 2_000)), "--tenant", "shop")
    words = ("campaign", "send", "--tenant", "shop", "--segment", "all", "--name", "a", "--message", "Hi", "--yes")
    total = shop.json(*words)["queuedRecipients"]
    worker = shop.start("worker")
    assert eventually(lambda: get(f"{twin}/_control/stats")["sms"]["accepted"] > 50)
    assert stop(worker, 25) == 0
    between = shop.json("campaign", "status", "a", "--tenant", "shop")
    accepted = get(f"{twin}/_control/stats")["sms"]["accepted"]
    assert accepted < total, "it finished before the stop: make the campaign larger"
    assert between["unknown"] == between["sending"] == 0
    assert between["queued"] > 0
    assert between["accepted"] + between["sent"] + between["delivered"] <= accepted
    shop.start("worker")
    final = shop.json("campaign", "watch", "a", "--tenant", "shop", "--timeout", "90")
    assert final["status"] == "sent"
    counts = get(f"{twin}/_control/stats")["sms"]
    assert counts["duplicate_references"] == 0
    assert counts["accepted"] + final["failed"] == total
