"""One call to a provider endpoint, close to the wire: fast, and able to break its connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

from litestar.types import Receive, Send
from uvicorn.protocols.http import httptools_impl

ABORT = "callboard.abort"
_JSON = (b"content-type", b"application/json")
_NO_LINGER = struct.pack("ii", 1, 0)
_ENDLESS_CHUNK = b"x" * 16_384
_ENDLESS_CAP = 1 << 28


class TwinProtocol(httptools_impl.HttpToolsProtocol):
    """uvicorn's protocol, which also lets the app reset its connection."""

    def on_message_begin(self) -> None:
        """Hand the way to break this connection to the app."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self._reset}}

    def _reset(self) -> None:
        """A real RST: the peer loses what it has not read yet."""
        if (sock := self.transport.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()


class Aborted(Exception):
    """The connection is gone by intent: nothing more to answer."""


class Call:
    """A request and its answer."""

    __slots__ = ("_receive", "_send", "body", "headers", "method", "path", "scope")

    def __init__(self, scope: Any, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive, self._send = receive, send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        self.body = b""

    async def read(self, limit: int = 8 << 20) -> bool:
        """Take the body in; False when it is over the limit or the peer left."""
        parts: list[bytes] = []
        size = 0
        while True:
            message: Any = await self._receive()
            if message["type"] != "http.request":
                return False
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > limit:
                return False
            parts.append(part)
            if not message.get("more_body", False):
                self.body = parts[0] if len(parts) == 1 else b"".join(parts)
                return True

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, name in lower case."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def answer(
        self, status: int, body: bytes, extra: Sequence[tuple[bytes, bytes]] = (), *, kind: tuple[bytes, bytes] = _JSON
    ) -> None:
        """A whole answer."""
        headers = [kind, (b"content-length", str(len(body)).encode()), *extra]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def reset(self) -> None:
        """Break the connection now; raises :class:`Aborted`."""
        extension = (self.scope.get("extensions") or {}).get(ABORT)
        if extension is not None:
            extension["abort"]()
        raise Aborted

    async def hang(self, seconds: float) -> None:
        """Say nothing until the peer gives up or the time is over, then break the connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
        self.reset()

    async def truncated(self, body: bytes) -> None:
        """Promise more than is sent, then break the connection."""
        headers = [_JSON, (b"content-length", str(len(body) + 64).encode())]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await asyncio.sleep(0.02)
        self.reset()

    async def endless(self) -> None:
        """A 200 whose body does not end (before 256 MB) unless the peer closes."""
        gone = asyncio.ensure_future(self._gone())
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": [_JSON]})
            for _ in range(_ENDLESS_CAP // len(_ENDLESS_CHUNK)):
                if gone.done():
                    return
                await self._send({"type": "http.response.body", "body": _ENDLESS_CHUNK, "more_body": True})
                await asyncio.sleep(0)
        finally:
            gone.cancel()
        self.reset()

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
