"""Sending: PostgreSQL, Redis and two workers through the twin, against a bare HTTP client loop at the same twin."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import aiohttp
from tests.integration.chaos.stack import Stack, eventually

from bench.common import Row, postgres, report


async def bare_loop(url: str, n: int, in_flight: int) -> float:
    """Messages per second of a client that stores nothing."""
    numbers = iter(range(n))

    async def one(session: aiohttp.ClientSession) -> None:
        for i in numbers:
            body = {
                "trafficAccountId": "a",
                "destination": f"+91{6000000000 + i}",
                "sms": {"text": "Hi", "sender": "BENCH"},
            }
            async with session.post(f"{url}/api/v1.1/Messages/send", json=body) as answer:
                await answer.read()
                assert answer.status == 200, await answer.text()

    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector, headers={"X-Mitto-API-Key": "bench"}) as session:
        start = time.perf_counter()
        await asyncio.gather(*(one(session) for _ in range(in_flight)))
        return n / (time.perf_counter() - start)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--messages", type=int, default=20_000)
    options = parser.parse_args(arguments)
    n = options.messages
    stack = Stack(Path(tempfile.mkdtemp(prefix="callboard-bench-")), postgres())
    try:
        stack.start()
        headers = stack.shop(slug="bench", contacts=n, granted=10 * n)
        limit = asyncio.run(bare_loop(str(stack.twin.base_url).rstrip("/"), n, 64))
        stack.twin.post("/_control/reset")
        stack.start_worker("worker-1")
        stack.start_worker("worker-2")
        time.sleep(4)
        campaign = stack.campaign(headers, "Bench")
        start = time.perf_counter()
        answer = stack.enqueue(headers, campaign)
        enqueued = time.perf_counter()
        assert answer["queuedRecipients"] == n
        eventually(lambda: stack.finished(headers, campaign), within=300, every=0.1, what="campaign sent")
        sent = time.perf_counter()
        eventually(
            lambda: stack.metrics(headers, campaign)["delivered"] == n, within=300, every=0.1, what="receipts in"
        )
        settled = time.perf_counter()
        stack.check_books()
        rows = [
            Row(case=f"HTTP enqueue of {n:,}", ours=enqueued - start, unit="s"),
            Row(
                case="send, every state durable, receipts coming in meanwhile",
                ours=n / (sent - enqueued),
                unit="msg/s",
                limit=limit,
                limit_name="bare client loop",
                goal="≥ 1,000 msg/s",
            ),
            Row(case="send until the last receipt is applied", ours=n / (settled - enqueued), unit="msg/s"),
        ]
    finally:
        stack.stop()
    report("dispatch", rows, as_json=options.json)


if __name__ == "__main__":
    main()
