"""Receipts: signed delivery reports over 64 connections, durable before the answer, against a bare handler."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from tests.integration.chaos.stack import Stack, eventually, free_port

from bench.common import Row, postgres, report

BARE = """
import sys, uvicorn
from litestar import Litestar, post
@post("/", status_code=200)
async def handler(data: dict) -> None: return None
uvicorn.run(Litestar([handler], openapi_config=None), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


GROUP = 20


def _report(message: str, status: str, now: str) -> dict[str, str]:
    return {"messageId": message, "deliveryStatus": status, "updatedAt": now}


async def post_all(url: str, bodies: list[bytes], secret: str, *, connections: int = 64) -> tuple[float, float]:
    """Requests per second and the p99 latency in milliseconds of posting every body once."""
    rest, taken = iter(bodies), list[float]()

    async def one(session: aiohttp.ClientSession) -> None:
        for body in rest:
            signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            headers = {"X-Webhook-Signature": signature, "Content-Type": "application/json"}
            begun = time.perf_counter()
            async with session.post(url, data=body, headers=headers) as answer:
                await answer.read()
                assert answer.status < 300, await answer.text()
            taken.append((time.perf_counter() - begun) * 1000)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:
        start = time.perf_counter()
        await asyncio.gather(*(one(session) for _ in range(connections)))
        rate = len(bodies) / (time.perf_counter() - start)
    return rate, statistics.quantiles(taken, n=100)[98]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--messages", type=int, default=6_000)
    options = parser.parse_args(arguments)
    n = options.messages
    stack = Stack(Path(tempfile.mkdtemp(prefix="callboard-bench-")), postgres())
    port = free_port()
    bare = subprocess.Popen([sys.executable, "-c", BARE, str(port)])
    try:
        stack.start()
        stack.twin.post(
            "/_control/config", json={"sms": {"delivery_url": None}}
        ).raise_for_status()  # we report ourselves
        headers = stack.shop(slug="bench", contacts=n, granted=n)
        campaign = stack.campaign(headers, "Bench")
        stack.enqueue(headers, campaign)
        stack.start_worker("worker-1")
        eventually(lambda: stack.finished(headers, campaign), within=120, what="campaign sent")
        stack.kill("worker-1", 15)
        ids = [row[0] for row in stack.sql("SELECT provider_message_id FROM messages")]
        now = datetime.now(UTC).isoformat()
        singly, together = ids[: n // 2], ids[n // 2 :]
        facts = ("Sent", "Delivered", "Delivered")  # as providers do it: every third one is a repeat
        reports = [_report(i, fact, now) for fact in facts for i in singly]
        grouped = [_report(i, fact, now) for fact in facts for i in together]
        bodies = [json.dumps(one).encode() for one in reports]
        arrays = [json.dumps(grouped[i : i + GROUP]).encode() for i in range(0, len(grouped), GROUP)]
        secret = "sandbox-" + stack.tenants["bench"].replace("-", "")
        url = f"{str(stack.api.base_url).rstrip('/')}/webhooks/sms/delivery"
        limit, _ = asyncio.run(post_all(f"http://127.0.0.1:{port}/", bodies, secret))
        rate, p99 = asyncio.run(post_all(url, bodies, secret))
        array_rate, array_p99 = asyncio.run(post_all(url, arrays, secret))
        assert stack.sql("SELECT count(*) FROM messages WHERE state = 'delivered'") == [(n,)]
        stack.check_books()
        rows = [
            Row(
                case=f"{len(bodies):,} signed reports, one per request, 64 connections",
                ours=rate,
                unit="receipts/s",
                limit=limit,
                limit_name="bare handler, same load generator",
                goal="≥ 3,000/s",
            ),
            Row(case="the same, p99", ours=p99, unit="ms", goal="< 250 ms"),
            Row(
                case=f"{len(grouped):,} signed reports in arrays of {GROUP}",
                ours=array_rate * GROUP,
                unit="receipts/s",
                goal="≥ 3,000/s",
            ),
            Row(case="the same, p99", ours=array_p99, unit="ms", goal="< 250 ms"),
        ]
    finally:
        bare.kill()
        stack.stop()
    report("receipts", rows, as_json=options.json)


if __name__ == "__main__":
    main()
