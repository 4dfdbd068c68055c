"""Servers that misbehave on purpose, and one that keeps what it is posted; plain asyncio, so nothing is polite."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import attrs

from callboard.ids import MessageId, RunId
from callboard.messages.model import Content, WhatsAppTemplate
from callboard.messages.ports import Outbound as Message
from callboard.tenants.model import Channel

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter, "Request"], Awaitable[None]]


@attrs.frozen
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return Request(head[0].split(" ")[1], headers, body)


@contextlib.asynccontextmanager
async def server(behave: Behaviour) -> AsyncIterator[str]:
    """Every request of every connection is given to ``behave`` after it was read whole."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while (request := await read_request(reader)) is not None and not writer.is_closing():
                await behave(reader, writer, request)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def says(raw: bytes, *, close: bool = False) -> Behaviour:
    async def behave(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _request: Request) -> None:
        writer.write(raw)
        await writer.drain()
        if close:
            writer.close()

    return behave


class Receiver:
    """Keeps every POST; ``statuses`` are the answers to give first, 200 afterwards."""

    def __init__(self, *statuses: int) -> None:
        self.requests: list[Request] = []
        self.statuses = list(statuses)

    async def __call__(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request) -> None:
        self.requests.append(request)
        status = self.statuses.pop(0) if self.statuses else 200
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


def message(
    to: str = "+919876543210",
    *,
    seq: int = 1,
    text: str = "Hello",
    template: WhatsAppTemplate | None = None,
    parameters: tuple[str, ...] = (),
    button: str | None = None,
) -> Message:
    channel = Channel.WHATSAPP if template else Channel.SMS
    content = Content(channel=channel, text=text, values={}, unsubscribe_base=None, template=template)
    reference = MessageId(RunId(UUID(int=42)), seq)
    return Message(reference=reference, to=to, text=text, content=content, parameters=parameters, button_suffix=button)
