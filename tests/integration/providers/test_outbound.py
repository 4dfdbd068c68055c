"""What a transport failure proves, against servers that fail on the wire."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time

import pytest
from tests.integration.providers.raw import Behaviour, Request, says, server

from callboard_adapters.outbound import Lost, NeverLeft, Outbound, OutboundLimits, Reply

QUICK = OutboundLimits(connect=0.5, read=0.5, pool=0.5, deadline=2.0, body=100_000)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def closes(_r: asyncio.StreamReader, w: asyncio.StreamWriter, _q: Request) -> None:
    w.close()


async def resets(_r: asyncio.StreamReader, w: asyncio.StreamWriter, _q: Request) -> None:
    w.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    w.transport.abort()


async def says_nothing(_r: asyncio.StreamReader, _w: asyncio.StreamWriter, _q: Request) -> None:
    await asyncio.sleep(30)


async def drips(_r: asyncio.StreamReader, w: asyncio.StreamWriter, _q: Request) -> None:
    w.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        w.write(b"1\r\nx\r\n")
        await w.drain()
        await asyncio.sleep(0.05)


async def endless(_r: asyncio.StreamReader, w: asyncio.StreamWriter, _q: Request) -> None:
    w.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not w.is_closing():
        w.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        await w.drain()


@pytest.mark.parametrize(
    ("behaviour", "cause", "status"),
    [
        (closes, "connection_closed", None),
        (resets, None, None),
        (says_nothing, "read_timeout", None),
        (drips, "deadline", 200),
        (endless, "body_too_large", 200),
        (says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", close=True), "body_truncated", 200),
        (says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", close=True), "body_truncated", 200),
        (says(b"HTTP/1.1 200 OK\r\ncontent-le", close=True), "connection_closed", None),
        (says(b"\x00\x16SSH-2.0\r\n\r\n", close=True), "not_http", None),
        (says(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n", close=True), "not_http", None),
    ],
)
async def test_after_the_request_was_written_every_failure_is_lost(
    behaviour: Behaviour, cause: str | None, status: int | None
) -> None:
    async with server(behaviour) as url, Outbound(QUICK) as outbound:
        started = time.monotonic()
        answer = await outbound.call("POST", f"{url}/x", content=b"{}")
        assert isinstance(answer, Lost)
        assert cause is None or answer == Lost(cause=cause, status=status)
        assert answer.cause != "transport_error"
        assert time.monotonic() - started < 4


async def test_before_the_request_was_written_every_failure_is_never_left() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        async with Outbound(QUICK) as outbound, server(closes) as plain:
            for url, cause in [
                (refused, "connect_failed"),
                ("http://no-such-host.invalid/", "dns_failed"),
                (plain.replace("http://", "https://"), None),
                ("ftp://127.0.0.1/", "bad_url"),
                ("http://[::1", "bad_url"),
            ]:
                answer = await outbound.call("POST", url, content=b"{}")
                assert isinstance(answer, NeverLeft), (url, answer)
                assert cause is None or answer.cause == cause
            bad_header = await outbound.call("POST", plain, headers={"x-key": "ключ"}, content=b"{}")
            assert isinstance(bad_header, NeverLeft)


async def test_a_connection_that_never_opens_is_never_left_even_by_the_deadline() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(3):  # fill the backlog: further connects hang
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        try:
            async with Outbound(QUICK) as outbound:
                assert await outbound.call("POST", url, content=b"{}") == NeverLeft(cause="connect_timeout")
                assert await outbound.call("POST", url, content=b"{}", deadline=0.1) == NeverLeft(cause="deadline")
        finally:
            for one in waiting:
                one.close()


async def test_waiting_for_a_free_connection_is_never_left() -> None:
    limits = OutboundLimits(connections=1, read=5, pool=0.3, deadline=5)
    async with server(says_nothing) as url, Outbound(limits) as outbound:
        first = asyncio.create_task(outbound.call("POST", url, content=b"{}", deadline=2))
        await asyncio.sleep(0.1)
        assert await outbound.call("POST", url, content=b"{}") == NeverLeft(cause="connect_timeout")
        assert await first == Lost(cause="deadline")


async def test_answers_of_any_status_come_whole_and_redirects_are_not_followed() -> None:
    seen: list[str] = []

    async def behave(_r: asyncio.StreamReader, w: asyncio.StreamWriter, q: Request) -> None:
        seen.append(q.path)
        w.write(b"HTTP/1.1 302 Found\r\nlocation: /other\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nover")
        await w.drain()

    async with server(behave) as url, Outbound(QUICK) as outbound:
        answer = await outbound.call("POST", f"{url}/here", content=b"{}")
        assert isinstance(answer, Reply)
        assert (answer.status, answer.body, answer.retry_after) == (302, b"over", 7.0)
        assert seen == ["/here"]


async def test_cookies_of_one_answer_never_reach_the_next_request() -> None:
    seen: list[dict[str, str]] = []

    async def behave(_r: asyncio.StreamReader, w: asyncio.StreamWriter, q: Request) -> None:
        seen.append(q.headers)
        w.write(b"HTTP/1.1 200 OK\r\nset-cookie: tenant=a; path=/\r\ncontent-length: 0\r\n\r\n")
        await w.drain()

    async with server(behave) as url, Outbound(QUICK) as outbound:
        await outbound.call("POST", url, content=b"{}")
        await outbound.call("POST", url, content=b"{}")
        await outbound.client().post(url)
        await outbound.client().post(url)
        assert len(seen) == 4
        assert not any("cookie" in headers for headers in seen)


async def test_connections_are_kept_and_given_up_before_the_peer_does() -> None:
    connections: set[object] = set()

    async def behave(_r: asyncio.StreamReader, w: asyncio.StreamWriter, _q: Request) -> None:
        connections.add(w)
        w.write(OK)
        await w.drain()

    async with server(behave) as url, Outbound(OutboundLimits(keep_alive=1.0)) as outbound:
        for _ in range(5):
            await outbound.call("POST", url, content=b"{}")
        assert len(connections) == 1
        await asyncio.sleep(1.3)
        await outbound.call("POST", url, content=b"{}")
        assert len(connections) == 2


async def test_a_peer_that_closes_idle_connections_costs_no_unknowns() -> None:
    async def behave(_r: asyncio.StreamReader, w: asyncio.StreamWriter, _q: Request) -> None:
        w.write(OK)
        await w.drain()
        asyncio.get_running_loop().call_later(0.02, w.close)  # idle for 20 ms: closed, without saying so before

    async with server(behave) as url, Outbound(QUICK) as outbound:
        for _ in range(20):
            answers = await asyncio.gather(*(outbound.call("POST", url, content=b"{}") for _ in range(8)))
            assert all(isinstance(a, Reply) for a in answers), answers
            await asyncio.sleep(0.04)
            for _ in range(5):  # whatever stalls this machine, the end of the stream is read before the next wave
                await asyncio.sleep(0.001)


async def test_each_event_loop_gets_its_own_client_and_all_are_closed() -> None:
    async with server(says(OK)) as url, Outbound(QUICK) as outbound:
        mine = outbound.client()
        other: list[object] = []

        def elsewhere() -> None:
            async def use() -> None:
                other.append(outbound.client())
                answer = await outbound.call("POST", url, content=b"{}")
                assert isinstance(answer, Reply)
                await outbound.client().aclose()

            asyncio.run(use())

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert other
        assert other[0] is not mine
        assert outbound.client() is mine
    assert mine.is_closed


async def test_cancelling_a_call_passes_through() -> None:
    async with server(says_nothing) as url, Outbound(QUICK) as outbound:
        call = asyncio.create_task(outbound.call("POST", url, content=b"{}"))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
