"""A tenant's account: entries by key, and the balance that is their sum."""

from __future__ import annotations

from collections.abc import Iterable

from callboard.credits.model import Entry
from callboard.errors import InsufficientCredits
from callboard.ids import TenantId
from callboard_adapters.memory.scope import Repository, TenantRepository, port
from callboard_adapters.memory.state import TenantRows

BALANCE = "balance"


class MemoryCredits(TenantRepository):
    """Append-only; the balance moves with the entries and never below zero."""

    name = "credits"

    @port
    def balance(self) -> int:
        return self._mine.balance.get(BALANCE, 0)

    @port
    def book(self, *entries: Entry) -> int:
        return book(self._mine, entries)

    @port
    def entries(self, *, limit: int = 100) -> list[Entry]:
        oldest_first = sorted(self._mine.entries.values(), key=lambda entry: entry.at)
        return oldest_first[::-1][:limit]


class MemoryAccounts(Repository):
    """Every tenant's account."""

    name = "accounts"

    @port
    def book(self, tenant: TenantId, *entries: Entry) -> int:
        return book(self._scope.rows_of(tenant), entries)


def book(mine: TenantRows, entries: Iterable[Entry]) -> int:
    """Append the entries whose key is new and move the balance by their sum; all of it or nothing."""
    new: dict[str, Entry] = {}
    for entry in entries:
        if entry.key not in mine.entries:
            new.setdefault(entry.key, entry)
    moved = sum(entry.amount for entry in new.values())
    balance = mine.balance.get(BALANCE, 0) + moved
    if balance < 0:
        raise InsufficientCredits("Not enough credits", needed=-moved, balance=balance - moved)
    for key, entry in new.items():
        mine.entries.put(key, entry)
    mine.balance.put(BALANCE, balance)
    return moved
