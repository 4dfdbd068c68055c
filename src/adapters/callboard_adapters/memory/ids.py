"""Where new identifiers come from: counted ones for tests and simulations, random ones for real use."""

from __future__ import annotations

import itertools
import secrets
import time
from uuid import UUID


class CountingIds:
    """UUIDs of version 7 that count from ``start``: the same run makes the same ids, in ascending order."""

    def __init__(self, start: int = 1) -> None:
        self._numbers = itertools.count(start)

    def new(self) -> UUID:
        """The next number as a UUIDv7."""
        number = next(self._numbers)
        return UUID(int=(number >> 12) << 80 | 0x7 << 76 | (number & 0xFFF) << 64 | 0b10 << 62)

    def token(self, n_bytes: int = 9) -> str:
        """A token as long as a random one of ``n_bytes`` bytes; predictable, so never for real links."""
        return f"t{next(self._numbers):0{-(-n_bytes * 4 // 3) - 1}d}"


class RandomIds:
    """UUIDv7 from the system's clock and its CSPRNG."""

    def new(self) -> UUID:
        """48 bits of milliseconds, 74 random bits."""
        noise = secrets.randbits(74)
        milliseconds = time.time_ns() // 1_000_000
        return UUID(int=milliseconds << 80 | 0x7 << 76 | (noise >> 62) << 64 | 0b10 << 62 | noise & ((1 << 62) - 1))

    def token(self, n_bytes: int = 9) -> str:
        """URL-safe base64 of ``n_bytes`` random bytes."""
        return secrets.token_urlsafe(n_bytes)
