"""The one way out: pooled HTTP with a total deadline, a byte cap, no redirects, and an honest word on what was lost.

Callers get a :class:`Reply`, or learn whether their request *never left us* (safe to repeat) or *may have arrived*
(nobody knows). httpx-aiohttp alone cannot tell: it raises ``ConnectTimeout`` when a peer resets a connection after
the request was written (tried with 0.2.0), so the line is drawn by a trace of aiohttp that fires just before the
first byte of a request. Rules: reliability.md section 2; transport and pool: performance.md section 4.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.cookiejar
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from types import SimpleNamespace, TracebackType
from typing import Self, cast

import aiohttp
import attrs
import httpx
from httpx_aiohttp import AiohttpTransport


@attrs.frozen(kw_only=True)
class OutboundLimits:
    """Seconds and bytes. ``keep_alive`` is shorter than what peers keep idle connections for (5 s and more), so that we
    close first and no request is written to a connection the peer is just closing.
    """

    connections: int = 128
    keep_alive: float = 3.0
    connect: float = 5.0
    write: float = 10.0
    read: float = 25.0
    pool: float = 10.0
    deadline: float = 30.0
    body: int = 1 << 20


@attrs.frozen(kw_only=True)
class Reply:
    """A whole answer. Header names are lower case; ``body`` is raw and complete."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """``Retry-After`` in seconds when it is given as a number; dates are not understood."""
        text = self.headers.get("retry-after", "").strip()
        return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


@attrs.frozen(kw_only=True)
class NeverLeft:
    """Not one byte of the request was written: no connection, or the deadline came first. Safe to repeat."""

    cause: str


@attrs.frozen(kw_only=True)
class Lost:
    """The request may have arrived and its answer is gone, cut off or over the cap. ``status`` if that much came."""

    cause: str
    status: int | None = None


Exchange = Reply | NeverLeft | Lost

_DEFAULTS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "callboard"}
_url = functools.lru_cache(maxsize=512)(httpx.URL)


@attrs.define
class _Progress:
    """How far one request got."""

    started: bool = False
    status: int | None = None


@attrs.frozen(kw_only=True)
class _Pool:
    """One loop's connections: the client, and the transport beneath it."""

    client: httpx.AsyncClient
    transport: AiohttpTransport


_progress: ContextVar[_Progress | None] = ContextVar("callboard_outbound_progress", default=None)


async def _starting(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, _params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    """Aiohttp calls this right before it writes the head of a request."""
    if (progress := _progress.get()) is not None:
        progress.started = True


def _cause(error: BaseException) -> str:
    """A word for logs and ledger rows: never a URL or an address."""
    chain: list[BaseException] = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 6:
        chain.append(inner)
    for kind, word in _WORDS:
        if any(isinstance(link, kind) for link in chain):
            return word
    return "transport_error"


_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "dns_failed"),
    (aiohttp.ClientConnectorCertificateError, "certificate_refused"),
    (ssl.SSLError, "tls_failed"),
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (aiohttp.ClientConnectorError, "connect_failed"),
    (httpx.InvalidURL, "bad_url"),
    (httpx.UnsupportedProtocol, "bad_url"),
    (aiohttp.SocketTimeoutError, "read_timeout"),
    (aiohttp.ServerDisconnectedError, "connection_closed"),
    (aiohttp.ClientPayloadError, "body_truncated"),
    (aiohttp.ClientResponseError, "not_http"),
    (aiohttp.ClientOSError, "connection_reset"),
    (OSError, "connection_reset"),
)


class Outbound:
    """``async with Outbound() as outbound``: one httpx client per running event loop, all closed at the end.

    Clients are shared by all tenants, so they keep no cookies, follow no redirects and read no environment.
    """

    def __init__(self, limits: OutboundLimits | None = None) -> None:
        self._limits = limits or OutboundLimits()
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}
        self._tls: ssl.SSLContext | None = None
        limit = self._limits
        timeouts = {"connect": limit.connect, "read": limit.read, "write": limit.write, "pool": limit.pool}
        self._extensions = {"timeout": timeouts}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def limits(self) -> OutboundLimits:
        """What every call is held to."""
        return self._limits

    def client(self) -> httpx.AsyncClient:
        """The pooled client of the running loop, for what :meth:`call` does not offer; made on first use."""
        return self._pool().client

    def _pool(self) -> _Pool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = self._make()
        return pool

    def _make(self) -> _Pool:
        limits = self._limits
        if self._tls is None:  # 34 ms: once, not per client
            self._tls = httpx.create_ssl_context(trust_env=False)
        tls = self._tls
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_starting)

        def session() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=limits.connections,
                    keepalive_timeout=limits.keep_alive,
                    ssl=tls,
                    ttl_dns_cache=30,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
                trust_env=False,
            )

        no_cookies = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        transport = AiohttpTransport(verify=tls, client=session)
        client = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(connect=limits.connect, read=limits.read, write=limits.write, pool=limits.pool),
            cookies=no_cookies,
            headers=_DEFAULTS,
            follow_redirects=False,
            trust_env=False,
        )
        return _Pool(client=client, transport=transport)

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        deadline: float | None = None,
        max_body: int | None = None,
    ) -> Exchange:
        """One request, held to ``deadline`` seconds in all. Raises nothing but cancellation."""
        progress = _Progress()
        token = _progress.set(progress)
        try:
            async with asyncio.timeout(self._limits.deadline if deadline is None else deadline):
                return await self._exchange(method, url, headers, content, progress, max_body or self._limits.body)
        except TimeoutError:
            cause = "deadline"
        except Exception as error:  # noqa: BLE001 - the promise: every failure becomes one of two answers
            cause = _cause(error)
        finally:
            _progress.reset(token)
        return Lost(cause=cause, status=progress.status) if progress.started else NeverLeft(cause=cause)

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        content: bytes | None,
        progress: _Progress,
        cap: int,
    ) -> Exchange:
        # Straight to the transport: AsyncClient's merging, cookies and redirects cost as much again as the exchange.
        transport = self._pool().transport
        request = httpx.Request(
            method, _url(url), headers=_DEFAULTS | dict(headers or {}), content=content, extensions=self._extensions
        )
        response = await transport.handle_async_request(request)
        progress.status = response.status_code
        stream = cast("httpx.AsyncByteStream", response.stream)
        try:
            parts: list[bytes] = []
            size = 0
            async for part in stream:
                size += len(part)
                if size > cap:
                    return Lost(cause="body_too_large", status=response.status_code)
                parts.append(part)
        finally:
            await stream.aclose()
        return Reply(status=response.status_code, headers=response.headers, body=b"".join(parts))

    async def aclose(self) -> None:
        """Close every client on the loop it lives on; clients of loops that are gone lose their sockets with them."""
        here = asyncio.get_running_loop()
        pools, self._pools = self._pools, {}
        for loop, pool in pools.items():
            if loop is here:
                await pool.client.aclose()
            elif loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(pool.client.aclose(), loop)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.wrap_future(closing), 5)
