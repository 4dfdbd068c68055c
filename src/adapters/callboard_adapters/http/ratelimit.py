"""So many requests per credential; the count is shared over processes when there is a Redis."""

from __future__ import annotations

import time
from typing import Final

import structlog
from limits import parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from callboard.errors import RateLimited

_TIMEOUT: Final = 0.5
_PAUSE: Final = 5.0

log = structlog.get_logger("callboard.http")


class RateLimiter:
    """``rate`` is ``1200/minute``; ``0`` is no limit. Without ``redis_url`` each process counts for itself."""

    def __init__(self, rate: str, redis_url: str | None = None) -> None:
        self._item = None if rate.strip() == "0" else parse(rate)
        self._pool: ConnectionPool | None = None
        storage: Storage = MemoryStorage()
        if redis_url is not None:
            self._pool = ConnectionPool.from_url(
                redis_url, socket_connect_timeout=_TIMEOUT, socket_timeout=_TIMEOUT, retry=Retry(NoBackoff(), 0)
            )
            storage = RedisStorage(  # its options are typed as plain values
                f"async+{redis_url}",
                implementation="redispy",
                connection_pool=self._pool,  # type: ignore[arg-type]
            )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._down_until = 0.0

    async def hit(self, credential: str) -> None:
        """Count one request; :class:`RateLimited` with the seconds to wait when it is one too many.

        A counter that does not answer in half a second lets requests pass for five: a broken limiter is no outage.
        """
        if self._item is None or time.monotonic() < self._down_until:
            return
        try:
            if await self._limiter.hit(self._item, credential):
                return
            reset = (await self._limiter.get_window_stats(self._item, credential)).reset_time
        except Exception as error:  # noqa: BLE001 - see above
            self._down_until = time.monotonic() + _PAUSE
            log.warning("rate_limit.unavailable", error=type(error).__name__)
            return
        raise RateLimited("Too many requests", retry_after=max(1, int(reset - time.time()) + 1))

    async def close(self) -> None:
        """Close its connections."""
        if self._pool is not None:
            await self._pool.aclose()
