"""``Idempotency-Key``: the same key and body have one effect and one answer, byte for byte (contracts/README.md 3)."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

import attrs
from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from callboard.errors import IdempotencyKeyReused, InvalidInput, RequestInFlight
from callboard.ids import TenantId
from callboard.tenants.model import Principal
from callboard_adapters.sql.idempotency import Fresh, InFlight, Replay, Reused

_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_BOUNDARY = re.compile(rb"boundary=\"?([^\";,]+)")
_POLL_SECONDS = 0.05


class IdempotencyStore(Protocol):
    """Keys and the answers they got. Each call is its own committed transaction."""

    async def begin(
        self, tenant_id: TenantId, scope: str, key: str, body_hash: bytes
    ) -> Fresh | Replay | InFlight | Reused:
        """Claim the key; exactly one of any number of racing callers gets Fresh."""
        ...

    async def finish(
        self, tenant_id: TenantId, scope: str, key: str, status: int, body: bytes, content_type: str
    ) -> None:
        """Keep the answer for everybody who comes with the key."""
        ...

    async def forget(self, tenant_id: TenantId, scope: str, key: str) -> None:
        """The request was refused: the key is free again."""
        ...


@attrs.frozen(kw_only=True)
class Idempotency:
    """Middleware behind authentication: works on handlers with ``opt={"idempotent": True}`` when the header is there.

    Only 2xx answers are kept. While the first call runs, the others wait ``patience`` seconds for its answer and then
    get :class:`RequestInFlight`.
    """

    app: ASGIApp
    store: IdempotencyStore
    patience: float = 5.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _key(scope)
        if key is None:
            await self.app(scope, receive, send)
            return
        request: Request[Principal, object, Any] = Request(scope, receive, send)
        tenant = cast("Principal", scope["user"]).tenant_id
        where = f"{scope['method']} {scope['path']}"[:120]  # type: ignore[typeddict-item]
        body_hash = _hash(await request.body(), request.headers.get("content-type", ""))
        replay = await self._begin(tenant, where, key, body_hash)
        if replay is not None:
            await _send(replay, send)
            return
        recorder = _Recorder(send)
        try:
            await self.app(scope, receive, recorder)
        except BaseException:
            await asyncio.shield(self.store.forget(tenant, where, key))
            raise
        if 200 <= recorder.status < 300:
            await self.store.finish(tenant, where, key, recorder.status, bytes(recorder.body), recorder.content_type)
        else:
            await self.store.forget(tenant, where, key)
        await recorder.release()

    async def _begin(self, tenant: TenantId, where: str, key: str, body_hash: bytes) -> Replay | None:
        """None to go ahead, the stored answer otherwise."""
        deadline = time.monotonic() + self.patience
        while True:
            state = await self.store.begin(tenant, where, key, body_hash)
            match state:
                case Fresh():
                    return None
                case Replay():
                    return state
                case Reused():
                    raise IdempotencyKeyReused("This Idempotency-Key was used for another body")
                case InFlight():
                    if time.monotonic() >= deadline:
                        raise RequestInFlight("The first request with this Idempotency-Key has not answered yet")
                    await asyncio.sleep(_POLL_SECONDS)


class _Recorder:
    """Holds the answer back until it is stored: who has seen it can have it again."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: list[Message] = []
        self.status = 0
        self.content_type = ""
        self.body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            found = [value for name, value in message["headers"] if name.lower() == b"content-type"]
            self.content_type = found[0].decode("latin-1") if found else ""
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
        self._held.append(message)

    async def release(self) -> None:
        """Let the answer go."""
        for message in self._held:
            await self._send(message)


def _key(scope: Scope) -> str | None:
    if scope["type"] != ScopeType.HTTP or not scope["route_handler"].opt.get("idempotent"):
        return None
    given = [value for name, value in scope["headers"] if name.lower() == b"idempotency-key"]
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise InvalidInput("Idempotency-Key must be 1 to 255 printable ASCII characters", field="Idempotency-Key")
    return given[0].decode()


def _hash(body: bytes, content_type: str) -> bytes:
    """SHA-256 of the body; a multipart boundary, which browsers draw anew for every try, does not count."""
    boundary = _BOUNDARY.search(content_type.encode("latin-1", "replace"))
    if boundary is not None and content_type.startswith("multipart/"):
        body = body.replace(boundary[1], b"boundary")
    return hashlib.sha256(body).digest()


async def _send(replay: Replay, send: Send) -> None:
    headers = [
        (b"content-type", replay.content_type.encode("latin-1")),
        (b"content-length", str(len(replay.body)).encode()),
        (b"idempotency-replayed", b"true"),
    ]
    await send({"type": "http.response.start", "status": replay.status, "headers": headers})
    await send({"type": "http.response.body", "body": replay.body, "more_body": False})


def idempotency(store: IdempotencyStore) -> Callable[[ASGIApp], Idempotency]:
    """The middleware as Litestar wants it: a function of the next app."""
    return lambda app: Idempotency(app=app, store=store)
