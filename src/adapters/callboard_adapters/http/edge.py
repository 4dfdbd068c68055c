"""The outermost layer round the whole app: correlation, addressing, CORS, headers, one access line, one measurement.

It sees every request, matched or not; Litestar's own middleware does not see unmatched paths.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import uuid4

import attrs
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from callboard_adapters.http.failure import Failure, failure_of, outline
from callboard_adapters.http.metrics import HttpMetrics
from callboard_adapters.http.surface import Answer, Surface, Surfaces, default_render, failure_answer

log = structlog.get_logger("callboard.http")

Claim = Callable[[Scope], Awaitable[frozenset[str]]]
"""The surfaces a request's credential is valid for; empty without a valid one."""

_PRINTABLE = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")
_LONGEST_PATH = 2048
_COMMON = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)
_TLS_ONLY = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
_PREFLIGHT_SECONDS = b"600"


@attrs.frozen(kw_only=True)
class Edge:
    """Wraps the app's handler. ``claim`` is asked only for root paths that two served surfaces want."""

    inner: ASGIApp
    surfaces: Surfaces
    claim: Claim
    metrics: HttpMetrics
    production: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.inner(scope, receive, send)
            return
        exchange = _Exchange(scope, send, tls_only=self.production)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**exchange.ids)
        try:
            exchange.surface = await self._address(scope)
            malformed = _malformed(scope)
            if malformed is not None:
                await exchange.refuse(malformed)
            elif exchange.is_preflight:
                await exchange.answer(Answer(status=204, body=b"", headers={}))
            else:
                await self.inner(scope, receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - nobody is behind us who could answer
            log.error("request.failed", **outline(error))  # noqa: TRY400 - a traceback would print what was sent
            if not exchange.status:
                await exchange.refuse(failure_of(error))
        finally:
            self._record(exchange)

    async def _address(self, scope: Scope) -> Surface | None:
        """Find the request's surface; a root path is re-addressed under its surface's name."""
        path = scope["path"]
        owner = self.surfaces.owner(path)
        if owner is not None:
            return owner
        claimants = self.surfaces.claimants(path)
        if not claimants:
            return None
        chosen = claimants[0]
        if len(claimants) > 1:
            valid_for = await self.claim(scope)
            chosen = next((surface for surface in claimants if surface.name in valid_for), chosen)
        scope["path"] = f"/{chosen.name}{path}"
        return chosen

    def _record(self, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        route = str(exchange.scope.get("path_template") or "unmatched")
        surface = exchange.surface.name if exchange.surface else "-"
        self.metrics.answered(exchange.scope["method"], route, surface, exchange.status, seconds)
        # Callbacks that succeed come in thousands per second: the metrics count them, a line each would cost a quarter
        # of their CPU. Those that fail are logged like everything else.
        write = log.debug if "/webhooks/" in route and exchange.status < 400 else log.info
        write(
            "request.answered",
            method=exchange.scope["method"],
            route=route,
            surface=surface,
            status=exchange.status,
            ms=round(seconds * 1000, 1),
        )


class _Exchange:
    """One request and its answer: headers are bytes, so nothing a client sends can fail to decode."""

    def __init__(self, scope: Any, send: Send, *, tls_only: bool) -> None:
        self.scope = scope
        self.started = time.perf_counter()
        self.surface: Surface | None = None
        self.status = 0
        self._send = send
        self._tls_only = tls_only
        self._given: dict[bytes, bytes] = {name.lower(): value for name, value in reversed(list(scope["headers"]))}
        request_id, correlation_id = self._correlation()
        self.ids = {"request_id": request_id, "correlation_id": correlation_id}

    def _correlation(self) -> tuple[str, str]:
        """The caller's ids where printable ASCII of at most 128 characters, else ours; one stands in for the other."""
        given = [self._given.get(name, b"").strip() for name in (b"x-request-id", b"x-correlation-id")]
        request_id, correlation_id = (value.decode() if _PRINTABLE.fullmatch(value) else "" for value in given)
        fresh = request_id or correlation_id or uuid4().hex
        return request_id or fresh, correlation_id or fresh

    @property
    def _origin(self) -> bytes | None:
        """The origin if the surface's policy allows it."""
        origin = self._given.get(b"origin")
        if origin is None or self.surface is None or not origin.isascii():
            return None
        return origin if self.surface.cors.allows(origin.decode()) else None

    @property
    def is_preflight(self) -> bool:
        """A browser asks whether it may; a foreign origin gets the ordinary OPTIONS answer without CORS headers."""
        asks = self.scope["method"] == "OPTIONS" and b"access-control-request-method" in self._given
        return asks and self._origin is not None

    async def send(self, message: Message) -> None:
        """Pass on, with our headers on the first message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            names = {name.lower() for name, _ in headers}
            message["headers"] = headers + [(name, value) for name, value in self._headers() if name not in names]
        await self._send(message)

    async def refuse(self, failure: Failure) -> None:
        """Answer a failure in the surface's dialect."""
        await self.answer(self.surface.answer(failure) if self.surface else failure_answer(failure, default_render))

    async def answer(self, answer: Answer) -> None:
        """Answer without the app."""
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        if answer.body:
            headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": answer.body, "more_body": False})

    def _headers(self) -> Iterable[tuple[bytes, bytes]]:
        yield b"x-request-id", self.ids["request_id"].encode()
        yield b"x-correlation-id", self.ids["correlation_id"].encode()
        yield from _COMMON
        if self._tls_only:
            yield _TLS_ONLY
        if self.surface is None:
            return
        for name, value in self.surface.headers.items():
            yield name.lower().encode(), value.encode()
        yield b"vary", b"Origin"
        origin = self._origin
        if origin is None:
            return
        cors = self.surface.cors
        yield b"access-control-allow-origin", origin
        if cors.credentials:
            yield b"access-control-allow-credentials", b"true"
        if self.is_preflight:
            yield b"access-control-allow-methods", ", ".join(cors.methods).encode()
            yield b"access-control-allow-headers", ", ".join(cors.request_headers).encode()
            yield b"access-control-max-age", _PREFLIGHT_SECONDS
        else:
            yield b"access-control-expose-headers", ", ".join(cors.exposed_headers).encode()


def _malformed(scope: Any) -> Failure | None:
    """A path no object can have is unknown, a query that is no text refused. Drops empty parameters (``search=``)."""
    path = scope["path"]
    if "\x00" in path or "\ufffd" in path or len(path) > _LONGEST_PATH or not _is_text(path):
        scope["path"] = "/"  # what cannot be a route must not be a log line either
        return Failure(status=404, code="NOT_FOUND", message="Resource not found")
    query: bytes = scope.get("query_string", b"")
    if not query:
        return None
    try:
        text = unquote_to_bytes(query.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:
        details = {"field": "query", "reason": "Not valid UTF-8 text"}
        return Failure(status=400, code="VALIDATION_ERROR", message="Validation failed", details=details)
    pairs = query.split(b"&")
    scope["query_string"] = b"&".join(pair for pair in pairs if pair.partition(b"=")[2])
    return None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
