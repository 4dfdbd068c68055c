"""The world's clock, identifiers and pauses."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7


class SystemClock:
    """This machine's clock. Leases and due times use the database's instead."""

    def now(self) -> datetime:
        """Aware, in UTC."""
        return datetime.now(UTC)


class Uuid7Ids:
    """UUIDv7 and tokens from the operating system's random source."""

    def new(self) -> UUID:
        """A UUIDv7: unique, roughly ordered by time."""
        return uuid7()

    def token(self, n_bytes: int = 9) -> str:
        """URL-safe text of ``n_bytes`` random bytes (9 bytes are 12 characters)."""
        return secrets.token_urlsafe(n_bytes)


class AsyncioPauses:
    """Waiting on the running event loop."""

    async def sleep(self, seconds: float) -> None:
        """Return after about ``seconds``."""
        await asyncio.sleep(seconds)
