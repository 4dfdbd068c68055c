"""What credits need from a store."""

from __future__ import annotations

from typing import Protocol

from callboard.credits.model import Entry


class Credits(Protocol):
    """One tenant's account."""

    async def balance(self) -> int: ...

    async def book(self, *entries: Entry) -> int:
        """Append entries whose key is new and move the balance by their sum, in one conditional update.

        Returns the sum booked (entries whose key exists are not booked again). Raises InsufficientCredits, and books
        nothing, when the balance would fall below zero.
        """
        ...

    async def entries(self, *, limit: int = 100) -> list[Entry]:
        """Newest first."""
        ...
