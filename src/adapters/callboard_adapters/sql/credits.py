"""Credits: entries with unique keys, and a balance that one conditional update moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, update

from callboard.credits.model import Entry, EntryKind
from callboard.errors import InsufficientCredits
from callboard.ids import RunId, TenantId
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.dialect import insert_into
from callboard_adapters.sql.scope import Scope

a, e = t.credit_accounts.c, t.credit_entries.c


class SqlCredits:
    """One tenant's account."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def balance(self) -> int:
        found = await self._scope.connection.execute(_BALANCE, {"tenant": self._scope.tenant_id})
        return int(found.scalar_one_or_none() or 0)

    async def book(self, *entries: Entry) -> int:
        return await book(self._scope, self._scope.tenant_id, entries)

    async def entries(self, *, limit: int = 100) -> list[Entry]:
        """Newest first."""
        newest = (
            select(t.credit_entries)
            .where(e.tenant_id == self._scope.tenant_id)
            .order_by(e.at.desc(), e.key.desc())
            .limit(limit)
        )
        return [_entry(row) for row in (await self._scope.connection.execute(newest)).mappings()]


class SqlAccounts:
    """Every tenant's account, in system scope."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def book(self, tenant: TenantId, *entries: Entry) -> int:
        return await book(self._scope, tenant, entries)


async def book(scope: Scope, tenant: TenantId, entries: Sequence[Entry]) -> int:
    """Insert the entries whose key is new, then move the balance by their sum unless it would fall below zero.

    A refusal takes its entries back, so that it leaves nothing behind even if the transaction goes on.
    """
    if not entries:
        return 0
    connection = scope.connection
    rows = [
        {
            "tenant_id": tenant,
            "key": entry.key,
            "kind": entry.kind.value,
            "amount": entry.amount,
            "run_id": entry.run_id,
            "reason": entry.reason,
            "at": entry.at,
        }
        for entry in {entry.key: entry for entry in reversed(entries)}.values()
    ]
    new = insert_into(t.credit_entries, is_sqlite=scope.sqlite).on_conflict_do_nothing().returning(e.key, e.amount)
    booked = (await connection.execute(new, sorted(rows, key=lambda row: str(row["key"])))).all()
    total = sum(int(row.amount) for row in booked)
    if total > 0:
        account = insert_into(t.credit_accounts, is_sqlite=scope.sqlite).values(tenant_id=tenant, balance=total)
        await connection.execute(
            account.on_conflict_do_update(index_elements=["tenant_id"], set_={"balance": a.balance + total})
        )
    elif total < 0:
        debit = update(t.credit_accounts).where(a.tenant_id == tenant, a.balance + total >= 0)
        if (await connection.execute(debit.values(balance=a.balance + total))).rowcount != 1:
            undone = delete(t.credit_entries).where(e.tenant_id == tenant, e.key.in_([row.key for row in booked]))
            await connection.execute(undone)
            raise InsufficientCredits("Not enough credits", required=-total)
    return total


def _entry(row: Any) -> Entry:
    return Entry(
        key=row["key"],
        kind=EntryKind(row["kind"]),
        amount=row["amount"],
        run_id=None if row["run_id"] is None else RunId(row["run_id"]),
        reason=row["reason"],
        at=row["at"],
    )


_BALANCE: Final = select(a.balance).where(a.tenant_id == bindparam("tenant"))
