"""Receipts of all tenants: applied to their row, or parked until it is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import attrs

from callboard.ids import MessageId, TenantId
from callboard.messages.model import Fact, Reason, Receipt, State
from callboard.messages.ports import Applied, Refundable
from callboard.messages.rules import advance, writes_off
from callboard_adapters.memory.book import Row
from callboard_adapters.memory.scope import Repository, Scope, port
from callboard_adapters.memory.state import Parked

_TIME: Final = {
    Fact.SENT: "sent_at",
    Fact.DELIVERED: "delivered_at",
    Fact.READ: "read_at",
    Fact.FAILED: "failed_at",
}


class MemoryReceipts(Repository):
    """A fact is known twice when its row has its time already, or when it is parked already."""

    name = "receipts"

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._book = scope.state.book

    @port
    def apply(self, receipts: Sequence[Receipt], *, now: datetime) -> Applied:
        known: list[tuple[Receipt, Row]] = []
        unknown: list[Receipt] = []
        for receipt in receipts:
            row = self._row(receipt)
            if row is None:
                unknown.append(receipt)
            else:
                known.append((receipt, row))
        done = self._apply(receipt for receipt, _ in known)
        parked = sum(self._park(receipt, now) for receipt in unknown)
        return attrs.evolve(done, parked=parked, duplicate=done.duplicate + len(unknown) - parked)

    @port
    def match_parked(self, *, now: datetime, limit: int) -> Applied:
        del now  # times come from the receipts
        found = [p for p in self._state.parked.values() if self._row(p.receipt) is not None][:limit]
        for parked in found:
            self._state.parked.drop((parked.receipt.provider, parked.receipt.key))
        return self._apply(parked.receipt for parked in found)

    @port
    def drop_parked(self, *, older_than: datetime) -> int:
        old = [key for key, parked in self._state.parked.items() if parked.received_at < older_than]
        for key in old:
            self._state.parked.drop(key)
        return len(old)

    def _row(self, receipt: Receipt) -> Row | None:
        """The message it tells of, if its sender may speak for that tenant."""
        if receipt.message_id is not None:
            row = self._book.rows.get((receipt.message_id.run_id, receipt.message_id.seq))
        else:
            key = self._book.by_provider_id.get(receipt.provider_message_id)
            row = None if key is None else self._book.rows[key]
        if row is None or (receipt.tenants is not None and row.tenant_id not in receipt.tenants):
            return None
        return row

    def _park(self, receipt: Receipt, now: datetime) -> bool:
        key = (receipt.provider, receipt.key)
        if key in self._state.parked:
            return False
        self._state.parked.put(key, Parked(receipt=receipt, received_at=now))
        return True

    def _apply(self, receipts: Iterable[Receipt]) -> Applied:
        changed = duplicate = 0
        writeoffs: list[Refundable] = []
        opted_out: list[tuple[TenantId, str]] = []
        for receipt in receipts:
            before = self._row(receipt)
            assert before is not None  # the caller has found it
            if getattr(before, _TIME[receipt.fact]) is not None:
                duplicate += 1
                continue
            moved_to = advance(before.state, receipt.fact)
            after = _applied(before, receipt, moved_to)
            self._book.put(after)
            changed += moved_to is not None
            if moved_to is not None and writes_off(before.state, before.credits):
                writeoffs.append(Refundable(tenant_id=after.tenant_id, id=MessageId(after.run_id, after.seq)))
            if receipt.opted_out:
                opted_out.append((after.tenant_id, after.phone))
        return Applied(
            changed=changed, duplicate=duplicate, parked=0, writeoffs=tuple(writeoffs), opted_out=tuple(opted_out)
        )


def _applied(row: Row, receipt: Receipt, moved_to: State | None) -> Row:
    """The row with one more fact: its time is kept, its state only moves forward."""
    known = attrs.evolve(
        row,
        provider_message_id=row.provider_message_id or receipt.provider_message_id,
        sent_at=receipt.at if receipt.fact is Fact.SENT else row.sent_at,
        delivered_at=receipt.at if receipt.fact is Fact.DELIVERED else row.delivered_at,
        read_at=receipt.at if receipt.fact is Fact.READ else row.read_at,
        failed_at=receipt.at if receipt.fact is Fact.FAILED else row.failed_at,
    )
    if moved_to is None:
        return known
    if moved_to is State.FAILED:
        reason, code = receipt.reason or Reason.UNDELIVERED, receipt.provider_code
    else:
        reason, code = Reason.CLEARED, known.provider_code
    return attrs.evolve(
        known,
        state=moved_to,
        reason=reason,
        provider_code=code,
        next_at=None,
        accepted_at=known.accepted_at or receipt.at,
    )
