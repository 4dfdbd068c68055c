"""Receipts: what providers say later; reliability.md 3.3."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import attrs

from callboard.clock import Clock
from callboard.credits.model import Entry
from callboard.credits.rules import written_off
from callboard.ids import TenantId
from callboard.messages.messages import OptOutReported
from callboard.messages.model import Receipt
from callboard.messages.ports import Applied, SystemWork
from callboard.work import OpenSystemWork


@attrs.frozen(kw_only=True)
class ReceiptService:
    """Applies facts once each, in any order, forward only."""

    system: OpenSystemWork[SystemWork]
    clock: Clock

    async def apply(self, receipts: Sequence[Receipt], *, tenants: frozenset[TenantId] | None = None) -> Applied:
        """One batch in one transaction: rows, write-offs and opt-outs commit together, or the caller gets the error.

        ``tenants`` are those whose signature the batch carried: rows of others are not found by it. A receipt whose
        message is unknown is parked. Answer the provider only after this returned; a repeat changes nothing.
        """
        if not receipts:
            return Applied(changed=0, duplicate=0, parked=0)
        if tenants is not None:
            receipts = [attrs.evolve(receipt, tenants=tenants) for receipt in receipts]
        async with self.system() as s:
            now = self.clock.now()
            applied = await s.receipts.apply(receipts, now=now)
            await book_proofs(s, applied, now=now)
        return applied


async def book_proofs(s: SystemWork, applied: Applied, *, now: datetime) -> None:
    """What a batch of facts brings beside the rows: write-offs (amount 0, once per message) and opt-outs."""
    proofs: dict[TenantId, list[Entry]] = defaultdict(list)
    for row in applied.writeoffs:
        proofs[row.tenant_id].append(written_off(row.id, now=now))
    for tenant, entries in sorted(proofs.items()):
        await s.accounts.book(tenant, *entries)
    for tenant, phone in applied.opted_out:
        await s.outboxes.add(tenant, OptOutReported(phone=phone))
