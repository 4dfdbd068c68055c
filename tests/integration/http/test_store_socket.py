"""A real server on a real socket: what clients refuse to send, and what follows on the same connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from tests.conftest import free_port
from tests.integration.http.shop import World


@asynccontextmanager
async def served(world: World, http: str) -> AsyncIterator[int]:
    port = free_port()
    config = uvicorn.Config(
        world.app, host="127.0.0.1", port=port, lifespan="off", log_level="error", access_log=False, http=http
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield port
    server.should_exit = True
    await task


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    return int(head.split(b" ")[1]), await asyncio.wait_for(reader.readexactly(length), 5)


async def test_next_request_on_the_same_connection_works_after_every_bad_one(shops: World) -> None:
    auth = f"Authorization: Bearer {shops.mine.key}\r\n".encode()
    fine = b"GET /settings HTTP/1.1\r\nHost: t\r\n" + auth + b"\r\n"
    json = b"Content-Type: application/json\r\n"

    def post(path: bytes, body: bytes, headers: bytes = json + auth) -> bytes:
        return b"POST %s HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n%s\r\n%s" % (path, len(body), headers, body)

    cases = [
        (post(b"/campaigns", b'{"name":"\xff"}'), 400),
        (post(b"/campaigns", b"[" * 100_000), 400),
        (post(b"/campaigns", b"{}", json), 401),
        (post(b"/campaigns", b"{}", json + b"Authorization: Bearer \xff\xfe\r\n"), 401),
        (post(b"/campaigns", b"{}", auth), 415),
        (post(b"/webhooks/sms/delivery", b"{}", b"X-Webhook-Signature: \xe9\xff\r\n"), 401),
        (post(b"/nowhere", b"x" * 100_000, auth), 404),
        (b"GET /contacts?search=%ff HTTP/1.1\r\nHost: t\r\n" + auth + b"\r\n", 400),
        (b"GET /contacts/%00 HTTP/1.1\r\nHost: t\r\n" + auth + b"\r\n", 404),
        (b"GET /contacts/%ff%fe HTTP/1.1\r\nHost: t\r\n" + auth + b"\r\n", 404),
        (b"TRACE /contacts HTTP/1.1\r\nHost: t\r\n" + auth + b"\r\n", 405),
        (b"DELETE /contacts HTTP/1.1\r\nHost: t\r\n" + auth + b"\r\n", 405),
    ]
    for http in ("h11", "httptools"):
        async with served(shops, http) as port:
            for request, status in cases:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request)
                got, body = await answer(reader)
                assert got == status, (request[:80], body)
                assert b'"success":false' in body
                writer.write(fine)
                got, body = await answer(reader)
                assert (got, b'"success":true' in body) == (200, True), request[:80]
                writer.close()
                await writer.wait_closed()


async def test_oversize_body_is_413_before_it_is_read(shops: World) -> None:
    async with served(shops, "httptools") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /campaigns HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {shops.mine.key}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 99999999\r\n\r\n".encode())
        status, body = await answer(reader)
        assert (status, b"PAYLOAD_TOO_LARGE" in body) == (413, True)
        writer.close()
        await writer.wait_closed()
