"""Giving credits and reading the account."""

from __future__ import annotations

from typing import Protocol

import attrs

from callboard.clock import Clock
from callboard.credits import rules
from callboard.credits.model import Entry
from callboard.credits.ports import Credits
from callboard.ids import Ids, TenantId
from callboard.values import clean_text
from callboard.work import OpenWork


class Work(Protocol):
    """One tenant's transaction."""

    @property
    def credits(self) -> Credits: ...


@attrs.frozen(kw_only=True)
class CreditService:
    """One balance, in one place."""

    work: OpenWork[Work]
    clock: Clock
    ids: Ids

    async def grant(self, tenant: TenantId, amount: int, *, reason: str | None = None) -> int:
        """Add credits (1..1,000,000,000) and return the new balance."""
        if reason is not None:
            clean_text(reason, field="reason", max_length=200)
        entry = rules.granted(amount, grant_id=self.ids.new(), reason=reason, now=self.clock.now())
        async with self.work(tenant) as w:
            await w.credits.book(entry)
            return await w.credits.balance()

    async def balance(self, tenant: TenantId) -> int:
        """Credits left."""
        async with self.work(tenant) as w:
            return await w.credits.balance()

    async def entries(self, tenant: TenantId, *, limit: int = 100) -> list[Entry]:
        """The latest movements, newest first."""
        async with self.work(tenant) as w:
            return await w.credits.entries(limit=limit)
