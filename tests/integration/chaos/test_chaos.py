"""Nothing lost, nothing twice, credits exact: real processes are killed and real servers taken away."""

from __future__ import annotations

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from tests.integration.chaos.stack import Stack, eventually

pytestmark = pytest.mark.timeout(240)
N = 3_000


def slow_twin(stack: Stack, milliseconds: int = 20) -> None:
    """Make the campaign last long enough to be disturbed."""
    assert stack.twin.post("/_control/latency", json={"provider": "sms", "ms": milliseconds}).status_code < 300


def wait_half(stack: Stack, share: float = 0.3) -> None:
    eventually(lambda: sum(stack.recipients().values()) > N * share, within=60, every=0.1, what="campaign under way")


def verdict(stack: Stack, headers: dict[str, str], campaign: str, *, granted: int, max_unknown: int) -> dict[str, int]:
    """Wait for the end and hold the ledger against what the twin received."""
    eventually(lambda: stack.finished(headers, campaign), within=120, what="campaign sent")
    figures = stack.metrics(headers, campaign)
    got = stack.recipients()
    assert max(got.values()) == 1, f"sent twice: {[p for p, n in got.items() if n > 1][:5]}"
    rows = dict(stack.sql("SELECT state, count(*) FROM messages GROUP BY 1"))
    assert sum(rows.values()) == N
    unknown = rows.get("unknown", 0) + rows.get("unconfirmed", 0)
    assert unknown <= max_unknown
    assert rows.get("queued", 0) == rows.get("sending", 0) == 0
    # Everything the twin has is either known to be accepted or honestly unknown; nothing else was promised.
    known = sum(rows.get(s, 0) for s in ("accepted", "sent", "delivered", "read"))
    assert known <= len(got) <= known + unknown
    assert known + unknown == N, rows
    assert stack.credits(headers) == granted - N + rows.get("unconfirmed", 0)
    stack.check_books()
    return {**figures, "unknown_rows": unknown}


def test_killing_workers_again_and_again_loses_nothing_and_sends_nothing_twice(stack: Stack) -> None:
    headers = stack.shop(slug="killed", contacts=N, granted=10_000)
    slow_twin(stack, 100)
    stack.start_worker("worker-1")
    stack.start_worker("worker-2")
    campaign = stack.campaign(headers, "Kill me")
    assert stack.enqueue(headers, campaign)["queuedRecipients"] == N
    wait_half(stack, 0.05)
    dice = random.Random(7)
    kills = 4
    for i in range(kills):
        time.sleep(dice.uniform(0.2, 1.2))
        name = f"worker-{i % 2 + 1}"
        stack.kill(name, signal.SIGKILL)
        stack.start_worker(name)
    verdict(stack, headers, campaign, granted=10_000, max_unknown=kills * 4 * 32)


def test_a_flushed_broker_costs_nothing(stack: Stack) -> None:
    headers = stack.shop(slug="flushed", contacts=N, granted=N)
    slow_twin(stack)
    stack.start_worker("worker-1")
    stack.start_worker("worker-2")
    campaign = stack.campaign(headers, "Flush me")
    stack.enqueue(headers, campaign)
    wait_half(stack, 0.1)
    stack.kill("redis")
    stack.start_redis()  # back, empty
    verdict(stack, headers, campaign, granted=N, max_unknown=0)


def test_the_api_takes_work_while_the_broker_is_down_and_it_is_done_after(stack: Stack) -> None:
    headers = stack.shop(slug="brokerless", contacts=N, granted=N)
    stack.start_worker("worker-1")
    stack.kill("redis")
    campaign = stack.campaign(headers, "No broker")
    started = time.monotonic()
    assert stack.enqueue(headers, campaign) == {"status": "queued", "queuedRecipients": N, "creditsDebited": N}
    assert time.monotonic() - started < 10
    ready = stack.api.get("/health/ready")
    assert ready.status_code == 200
    assert "broker" in str(ready.json()["degraded"])
    stack.start_redis()
    verdict(stack, headers, campaign, granted=N, max_unknown=0)


def test_cut_database_connections_lose_nothing(stack: Stack) -> None:
    headers = stack.shop(slug="cut", contacts=N, granted=N)
    slow_twin(stack)
    stack.start_worker("worker-1")
    stack.start_worker("worker-2")
    campaign = stack.campaign(headers, "Cut me")
    stack.enqueue(headers, campaign)
    wait_half(stack, 0.1)
    cuts = 3
    for _ in range(cuts):
        with psycopg.connect(stack.database_url.replace("+psycopg", ""), autocommit=True) as c:
            c.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        time.sleep(0.7)
    eventually(lambda: stack.api.get("/health/ready").status_code == 200, within=10, what="healthy again")
    verdict(stack, headers, campaign, granted=N, max_unknown=cuts * 2 * 4 * 32)


def test_sigterm_leaves_nothing_unknown_and_ends_in_time(stack: Stack) -> None:
    headers = stack.shop(slug="drained", contacts=N, granted=N)
    slow_twin(stack, 200)
    stack.start_worker("worker-1")
    campaign = stack.campaign(headers, "Drain me")
    stack.enqueue(headers, campaign)
    wait_half(stack, 0.1)
    started = time.monotonic()
    assert stack.kill("worker-1", signal.SIGTERM) == 0
    assert time.monotonic() - started < 25
    states = dict(stack.sql("SELECT state, count(*) FROM messages GROUP BY 1"))
    assert states.get("sending", 0) == states.get("unknown", 0) == 0
    assert states.get("queued", 0) > 0, "the campaign was over before the signal: the test shows nothing"
    stack.start_worker("worker-2")
    verdict(stack, headers, campaign, granted=N, max_unknown=0)


def test_sigterm_ends_in_time_while_redis_and_the_database_are_out_of_reach(stack: Stack) -> None:
    headers = stack.shop(slug="alone", contacts=N, granted=N)
    slow_twin(stack, 200)
    stack.start_worker("worker-1")
    campaign = stack.campaign(headers, "Alone")
    stack.enqueue(headers, campaign)
    wait_half(stack, 0.1)
    stack.kill("redis")
    with stack.database_gone():
        started = time.monotonic()
        stack.kill("worker-1", signal.SIGTERM)
        assert time.monotonic() - started < 30
    stack.start_redis()
    stack.start_worker("worker-2")
    verdict(stack, headers, campaign, granted=N, max_unknown=4 * 32)


def test_an_answer_lost_after_acceptance_is_never_sent_again(stack: Stack) -> None:
    headers = stack.shop(slug="lost-answers", contacts=N, granted=N)
    fault = {"provider": "sms", "kind": "reset_after", "next": 25}
    assert stack.twin.post("/_control/faults", json=fault).status_code < 300
    stack.start_worker("worker-1", CALLBOARD_RECONCILE_SECONDS="5")
    campaign = stack.campaign(headers, "Lost answers")
    stack.enqueue(headers, campaign)
    eventually(lambda: stack.finished(headers, campaign), within=90, what="campaign sent")
    eventually(
        lambda: stack.metrics(headers, campaign)["unconfirmed"] == 25, within=60, what="unknown rows became unconfirmed"
    )
    verdict(stack, headers, campaign, granted=N, max_unknown=25)
    assert len(stack.recipients()) == N  # the twin has all of them, once each


def test_twenty_parallel_enqueues_with_credits_for_ten(stack: Stack) -> None:
    headers = stack.shop(slug="poor", contacts=100, granted=1_000)
    campaigns = [stack.campaign(headers, f"Parallel {i}") for i in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda c: stack.api.post(f"/store/campaigns/{c}/enqueue", headers=headers), campaigns))
    assert sorted(a.status_code for a in answers) == [200] * 10 + [402] * 10
    assert {a.json()["code"] for a in answers if a.status_code == 402} == {"INSUFFICIENT_CREDITS"}
    assert stack.credits(headers) == 0
    assert stack.sql("SELECT count(*) FROM messages") == [(1_000,)]
    stack.check_books()


def test_where_the_provider_echoes_our_id_receipts_settle_what_an_answer_lost_left_unknown(stack: Stack) -> None:
    n = 400
    headers = stack.shop(slug="echo", contacts=n, granted=n)
    answer = stack.api.put("/store/settings", json={"channel": "whatsapp"}, headers=headers)
    assert answer.status_code == 200, answer.text
    config = {"whatsapp": {"any_template": True, "read_share": 0}}
    stack.twin.post("/_control/config", json=config).raise_for_status()
    fault = {"provider": "whatsapp", "kind": "reset_after", "every": 10}
    stack.twin.post("/_control/faults", json=fault).raise_for_status()
    stack.start_worker("worker-1", CALLBOARD_WHATSAPP_MPS="1000")
    template = ("--template", "winter", "--language", "en", "--parameter", "{{firstName|there}}")
    stack.command("campaign", "send", "--tenant", "echo", "--segment", "all", "--name", "Echo", *template,
                  "--message", "Hi {{firstName|there}}", "--yes")  # fmt: skip
    eventually(
        lambda: stack.sql("SELECT state, count(*) FROM messages GROUP BY 1") == [("delivered", n)],
        within=60,
        what="every row proved by its receipts",
    )
    got = stack.recipients("whatsapp")
    assert len(got) == n
    assert max(got.values()) == 1
    lost = [item for item in stack.received("whatsapp") if item["fault"]]
    assert len(lost) >= n // 10, "no answer was lost: the test shows nothing"
    assert stack.credits(headers) == 0
    stack.check_books()
