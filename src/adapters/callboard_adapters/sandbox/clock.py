"""The twin's own time, which tests may push forward, and token buckets that live on it."""

from __future__ import annotations

import time
from typing import Final

DAY: Final = 86_400.0


class TwinClock:
    """Unix seconds plus what was advanced."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        """The twin's present."""
        return time.time() + self.offset

    def advance(self, seconds: float) -> None:
        """Jump; due callbacks follow within one window."""
        self.offset += seconds


class Buckets:
    """Rate limits per key: one token each ``every`` seconds, ``burst`` at once; one float per key."""

    def __init__(self, *, sweep_at: int = 100_000) -> None:
        self._next: dict[str, float] = {}
        self._sweep_at = sweep_at

    def take(self, key: str, *, every: float, burst: float, now: float) -> float:
        """0 when the token was there; else the seconds until one is, and nothing is taken."""
        due = max(self._next.get(key, 0.0), now)
        wait = due + every - now - burst * every
        if wait > 1e-9:
            return wait
        if len(self._next) >= self._sweep_at:
            self._next = {k: t for k, t in self._next.items() if t > now}
            self._sweep_at = max(100_000, 2 * len(self._next))
        self._next[key] = due + every
        return 0.0

    def clear(self) -> None:
        """Every bucket is full again."""
        self._next.clear()
