"""Short links at speed: destinations are remembered for a moment, clicks are collected and written many at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import structlog

from callboard.ids import TenantId
from callboard.links.rules import counts_as_click
from callboard.links.service import ClickKey, LinkService

log = structlog.get_logger("callboard.http")

_SECONDS: Final = 10.0
_MOST: Final = 10_000
_FLUSH_SECONDS: Final = 1.0


class Clicks:
    """One per event loop. A click is written within about a second; a crash loses at most that second's clicks."""

    def __init__(self, links: LinkService) -> None:
        self._links = links
        self._known: OrderedDict[str, tuple[float, str, TenantId]] = OrderedDict()
        self._counted: Counter[ClickKey] = Counter()

    async def follow(self, token: str, *, method: str, agent: str, purpose: str) -> str:
        """The destination; the click is counted if a person made it. NotFound, Gone as :class:`LinkService`."""
        url, tenant = await self._destination(token)
        if counts_as_click(method=method, agent=agent, purpose=purpose):
            self._counted[(tenant, token, datetime.now(UTC).date())] += 1
        return url

    async def _destination(self, token: str) -> tuple[str, TenantId]:
        known = self._known.get(token)
        if known is not None and time.monotonic() < known[0]:
            self._known.move_to_end(token)
            return known[1], known[2]
        asked = time.monotonic()
        visit = await self._links.resolve(token, agent="", method="GET")
        assert visit.click is not None  # a plain GET always counts
        self._known[token] = (asked + _SECONDS, visit.url, visit.click[0])
        self._known.move_to_end(token)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return visit.url, visit.click[0]

    async def flush(self) -> None:
        """Write what has been counted; what cannot be written now waits for the next time."""
        counted, self._counted = self._counted, Counter()
        if not counted:
            return
        try:
            await self._links.count(counted)
        except Exception as error:  # noqa: BLE001 - a click must not end the loop that writes clicks
            self._counted.update(counted)
            log.warning("clicks.not_written", error=type(error).__name__, waiting=len(self._counted))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Flush every second while the app runs and once more at its end."""

        async def loop() -> None:
            while True:
                await asyncio.sleep(_FLUSH_SECONDS)
                await self.flush()

        task = asyncio.create_task(loop(), name="clicks")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.flush()
