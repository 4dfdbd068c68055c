"""Receipts of all tenants: a batch locks its rows in one order, the core's rule moves them, one UPDATE writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import attrs
from cattrs.preconf.json import make_converter
from sqlalchemy import RowMapping, delete, insert, text

from callboard.clock import local_date
from callboard.ids import MessageId, RunId, TenantId
from callboard.messages.model import Fact, Reason, Receipt, State
from callboard.messages.ports import Applied, Refundable
from callboard.messages.rules import advance, writes_off
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.batch import as_json, parameters, recordset, storable
from callboard_adapters.sql.counts import Key
from callboard_adapters.sql.scope import Scope
from callboard_adapters.webhooks.calls import WebhookCall

m, p = t.messages.c, t.parked_receipts.c
_json = make_converter(omit_if_default=True)
_json.register_unstructure_hook(MessageId, str)
_json.register_structure_hook(MessageId, lambda text_, _: MessageId.parse(text_))
_json.register_unstructure_hook(UUID, str)
_json.register_structure_hook(UUID, lambda text_, _: UUID(text_))

_TIME: Final = {Fact.SENT: "sent_at", Fact.DELIVERED: "delivered_at", Fact.READ: "read_at", Fact.FAILED: "failed_at"}


@attrs.define(kw_only=True)
class _Row:
    """A message row while a batch works on it."""

    tenant_id: TenantId
    run_id: RunId
    seq: int
    phone: str
    timezone: str
    state: State
    reason: str
    provider_code: str | None
    provider_message_id: str | None
    credits: int
    accepted_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    failed_at: datetime | None

    @property
    def count(self) -> Key:
        """Where the rollup counts it: by the day of acceptance, else of the failure."""
        at = self.accepted_at or (self.failed_at if self.state is State.FAILED else None)
        day = t.UNDATED if at is None else local_date(at, self.timezone)
        return Key(self.run_id, self.tenant_id, day, self.state.value, self.reason)


class SqlReceipts:
    """A fact is known twice when its row has its time already, or when it is parked already."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def apply(self, receipts: Sequence[Receipt], *, now: datetime) -> Applied:
        clean = [_clean(receipt) for receipt in receipts]
        rows = await self._lock(clean)
        known = [(receipt, row) for receipt in clean if (row := rows.of(receipt)) is not None]
        unknown = [receipt for receipt in clean if rows.of(receipt) is None]
        done = await self._apply(known)
        parked = await self._park(unknown, now)
        return attrs.evolve(done, parked=parked, duplicate=done.duplicate + len(unknown) - parked)

    async def match_parked(self, *, now: datetime, limit: int) -> Applied:
        """Parked receipts whose provider id a row has learnt meanwhile."""
        found = (await self._scope.connection.execute(self._pick(_MATCHING), {"limit": limit})).all()
        parked = [(row.provider, row.key, _json.loads(row.payload, Receipt)) for row in found]
        rows = await self._lock([receipt for _, _, receipt in parked])
        known, claimed = [], []
        for provider, key, receipt in parked:
            row = rows.of(receipt)
            if row is not None:
                known.append((receipt, row))
                claimed.append({"provider": provider, "key": key})
        if claimed:
            batch = as_json(claimed, sqlite=self._scope.sqlite)
            await self._scope.connection.execute(self._pick(_UNPARK), {"batch": batch})
        return await self._apply(known)

    async def drop_parked(self, *, older_than: datetime) -> int:
        dropped = delete(t.parked_receipts).where(p.received_at < older_than)
        return int((await self._scope.connection.execute(dropped)).rowcount)

    async def _lock(self, receipts: Sequence[Receipt]) -> _Found:
        """Their rows, by our id or else by the provider's; all locked by one statement, in order of run and number."""
        if receipts and all(receipt.message_id is None for receipt in receipts):  # SMS: nothing of ours to translate to
            batch = as_json(
                ({"id": name} for name in {r.provider_message_id for r in receipts}), sqlite=self._scope.sqlite
            )
            return _Found(
                (await self._scope.connection.execute(self._pick(_LOCKED_NAMED), {"batch": batch})).mappings()
            )
        scope = self._scope
        wanted = {(r.message_id.run_id, r.message_id.seq) for r in receipts if r.message_id is not None}
        theirs = {r.provider_message_id for r in receipts if r.message_id is None}
        if theirs:
            batch = as_json(({"id": name} for name in theirs), sqlite=scope.sqlite)
            found = await scope.connection.execute(self._pick(_NAMED), {"batch": batch})
            wanted.update((RunId(run), int(seq)) for run, seq in found)
        if not wanted:
            return _Found(())
        batch = as_json(({"run_id": run, "seq": seq} for run, seq in wanted), sqlite=scope.sqlite)
        return _Found((await scope.connection.execute(self._pick(_LOCKED), {"batch": batch})).mappings())

    async def _apply(self, known: Iterable[tuple[Receipt, _Row]]) -> Applied:
        changed = duplicate = 0
        writeoffs: list[Refundable] = []
        opted_out: list[tuple[TenantId, str]] = []
        moved: dict[tuple[RunId, int], _Row] = {}
        for receipt, row in known:
            time = _TIME[receipt.fact]
            if getattr(row, time) is not None:
                duplicate += 1
                continue
            state = advance(row.state, receipt.fact)
            if state is not None and writes_off(row.state, row.credits):
                writeoffs.append(Refundable(tenant_id=row.tenant_id, id=MessageId(row.run_id, row.seq)))
            self._scope.counts.add(row.count, -1)
            setattr(row, time, receipt.at)
            row.provider_message_id = row.provider_message_id or receipt.provider_message_id
            if state is not None:
                _move(row, state, receipt)
                changed += 1
            self._scope.counts.add(row.count, 1)
            if receipt.opted_out:
                opted_out.append((row.tenant_id, row.phone))
            moved[row.run_id, row.seq] = row
        await self._write(moved.values())
        return Applied(
            changed=changed, duplicate=duplicate, parked=0, writeoffs=tuple(writeoffs), opted_out=tuple(opted_out)
        )

    async def _write(self, rows: Iterable[_Row]) -> None:
        batch = [{name: getattr(row, name) for name in _WRITTEN} for row in rows]
        if batch:
            values = {"batch": as_json(batch, sqlite=self._scope.sqlite)}
            await self._scope.connection.execute(self._pick(_UPDATE), values)

    async def _park(self, receipts: Sequence[Receipt], now: datetime) -> int:
        if not receipts:
            return 0
        batch = [
            {
                "provider": receipt.provider,
                "key": receipt.key,
                "provider_message_id": receipt.provider_message_id,
                "payload": _json.dumps(receipt),
            }
            for receipt in receipts
        ]
        values = parameters(sqlite=self._scope.sqlite, now=now) | {"batch": as_json(batch, sqlite=self._scope.sqlite)}
        return len((await self._scope.connection.execute(self._pick(_PARK), values)).all())

    def _pick(self, statements: tuple[Any, Any]) -> Any:
        return statements[self._scope.sqlite]


class _Found:
    """Rows by either name."""

    def __init__(self, found: Iterable[RowMapping]) -> None:
        rows = [_Row(**{**values, "state": State(values["state"])}) for values in found]
        self._ours = {(row.run_id, row.seq): row for row in rows}
        self._theirs = {row.provider_message_id: row for row in rows if row.provider_message_id is not None}

    def of(self, receipt: Receipt) -> _Row | None:
        """The message it tells of, if its sender may speak for that tenant."""
        if receipt.message_id is not None:
            row = self._ours.get((receipt.message_id.run_id, receipt.message_id.seq))
        else:
            row = self._theirs.get(receipt.provider_message_id)
        if row is None or (receipt.tenants is not None and row.tenant_id not in receipt.tenants):
            return None
        return row


def _move(row: _Row, state: State, receipt: Receipt) -> None:
    row.state = state
    row.accepted_at = row.accepted_at or receipt.at
    if state is State.FAILED:
        row.reason = (receipt.reason or Reason.UNDELIVERED).value
        row.provider_code = receipt.provider_code
    else:
        row.reason = Reason.CLEARED.value


def _clean(receipt: Receipt) -> Receipt:
    provider_id, code = storable(receipt.provider_message_id), storable(receipt.provider_code, at_most=80)
    if provider_id == receipt.provider_message_id and code == receipt.provider_code:
        return receipt
    return attrs.evolve(receipt, provider_message_id=provider_id or "", provider_code=code)


def _both(statement: str, *columns: Any, rows: Mapping[str, str] | None = None, **spelling: tuple[str, str]) -> Any:
    """The statement for PostgreSQL and for SQLite; ``spelling`` holds what they write differently."""
    made = []
    for sqlite in (False, True):
        words = {name: pair[sqlite] for name, pair in spelling.items()}
        if rows is not None:
            words["rows"] = recordset(rows, sqlite=sqlite)
        spelled = text(statement.format(**words))
        made.append(spelled.columns(*columns) if columns else spelled)
    return tuple(made)


_NAMED: Final = _both(
    "SELECT m.run_id, m.seq FROM {rows} JOIN messages AS m ON m.provider_message_id = i.id",
    m.run_id,
    m.seq,
    rows={"id": "text"},
)
_LOCK: Final = """
    SELECT m.tenant_id, m.run_id, m.seq, m.phone, tenants.timezone, m.state, coalesce(m.reason, '') AS reason,
        m.provider_code, m.provider_message_id, m.credits,
        m.accepted_at, m.sent_at, m.delivered_at, m.read_at, m.failed_at
    FROM {{rows}} JOIN messages AS m ON {on}
    JOIN tenants ON tenants.id = m.tenant_id
    ORDER BY m.run_id, m.seq {{lock}}
"""
_LOCKED_COLUMNS: Final = (
    m.tenant_id,
    m.run_id,
    m.seq,
    m.phone,
    t.tenants.c.timezone,
    m.state,
    m.reason,
    m.provider_code,
    m.provider_message_id,
    m.credits,
    m.accepted_at,
    m.sent_at,
    m.delivered_at,
    m.read_at,
    m.failed_at,
)
_LOCKED: Final = _both(
    _LOCK.format(on="m.run_id = i.run_id AND m.seq = i.seq"),
    *_LOCKED_COLUMNS,
    rows={"run_id": "uuid", "seq": "int"},
    lock=("FOR UPDATE OF m", ""),
)
_LOCKED_NAMED: Final = _both(
    _LOCK.format(on="m.provider_message_id = i.id"),
    *_LOCKED_COLUMNS,
    rows={"id": "text"},
    lock=("FOR UPDATE OF m", ""),
)

_WRITTEN: Final = {
    "run_id": "uuid",
    "seq": "int",
    "state": "text",
    "reason": "text",
    "provider_code": "text",
    "provider_message_id": "text",
    "accepted_at": "timestamptz",
    "sent_at": "timestamptz",
    "delivered_at": "timestamptz",
    "read_at": "timestamptz",
    "failed_at": "timestamptz",
}
_UPDATE: Final = _both(
    """
    UPDATE messages AS m SET
        state = i.state, reason = nullif(i.reason, ''), provider_code = i.provider_code,
        provider_message_id = i.provider_message_id,
        next_at = CASE WHEN m.state = i.state THEN m.next_at END,
        accepted_at = i.accepted_at, sent_at = i.sent_at, delivered_at = i.delivered_at, read_at = i.read_at,
        failed_at = i.failed_at
    FROM {rows} WHERE m.run_id = i.run_id AND m.seq = i.seq
    """,
    rows=_WRITTEN,
)
_PARK: Final = _both(
    """
    INSERT INTO parked_receipts (provider, key, provider_message_id, payload, received_at)
    SELECT provider, key, provider_message_id, payload, :now FROM {rows} WHERE true
    ON CONFLICT DO NOTHING
    RETURNING key
    """,
    rows={"provider": "text", "key": "text", "provider_message_id": "text", "payload": "text"},
)
_UNPARK: Final = _both(
    "DELETE FROM parked_receipts WHERE (provider, key) IN (SELECT i.provider, i.key FROM {rows})",
    rows={"provider": "text", "key": "text"},
)
# those that nobody may match (another tenant's signature, an id of ours that never was) must not fill the batch
_MATCHING: Final = _both(
    """
    SELECT p.provider, p.key, p.payload FROM parked_receipts AS p
    WHERE {unnamed} AND EXISTS (
        SELECT 1 FROM messages AS m WHERE m.provider_message_id = p.provider_message_id AND ({unbound} OR {vouched})
    )
    ORDER BY p.received_at, p.provider, p.key
    LIMIT :limit {lock}
    """,
    unnamed=("CAST(p.payload AS jsonb) ->> 'message_id' IS NULL", "json_extract(p.payload, '$.message_id') IS NULL"),
    unbound=("CAST(p.payload AS jsonb) ->> 'tenants' IS NULL", "json_extract(p.payload, '$.tenants') IS NULL"),
    vouched=(
        "jsonb_exists(CAST(p.payload AS jsonb) -> 'tenants', CAST(m.tenant_id AS text))",
        "m.tenant_id IN (SELECT replace(value, '-', '') FROM json_each(p.payload, '$.tenants'))",
    ),
    lock=("FOR UPDATE SKIP LOCKED", ""),
)


_KEEP: Final = text(
    "INSERT INTO webhook_calls (id, tenant_id, provider, verdict, body, received_at)"
    " SELECT * FROM unnest(CAST(:id AS uuid[]), CAST(:tenant_id AS uuid[]), CAST(:provider AS text[]),"
    " CAST(:verdict AS text[]), CAST(:body AS bytea[]), CAST(:received_at AS timestamptz[]))"
)


class SqlWebhookCalls:
    """What called us, kept raw for a while: the body, who was addressed, and what became of it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def add(
        self, *, provider: str, tenant: TenantId | None, verdict: str, body: bytes, received_at: datetime
    ) -> None:
        """Keep one call; ``tenant`` None while nobody owns it, ``verdict`` in a word (``applied``)."""
        values = {
            "id": self._scope.ids.new(),
            "tenant_id": tenant,
            "provider": provider[:20],
            "verdict": verdict[:20],
            "body": body,
            "received_at": received_at,
        }
        await self._scope.connection.execute(insert(t.webhook_calls).values(values))

    async def add_all(self, calls: Sequence[WebhookCall]) -> None:
        """Keep a group's calls, one statement."""
        if not calls:
            return
        rows = [
            {
                "id": self._scope.ids.new(),
                "tenant_id": call.tenant_id,
                "provider": call.provider[:20],
                "verdict": call.verdict[:20],
                "body": call.body,
                "received_at": call.received_at,
            }
            for call in calls
        ]
        if self._scope.sqlite:
            await self._scope.connection.execute(insert(t.webhook_calls), rows)
        else:  # one round trip and one plan for the group; executemany has one per call
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            await self._scope.connection.execute(_KEEP, columns)

    async def purge(self, *, older_than: datetime) -> int:
        """Forget old calls."""
        old = delete(t.webhook_calls).where(t.webhook_calls.c.received_at < older_than)
        return int((await self._scope.connection.execute(old)).rowcount)
