"""One tenant's runs and messages.

Lock order everywhere: chunks (by number), message rows (by number), the run, the credit account, counts. So waves,
receipts, cancels and releases wait for each other and never in a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Integer,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from callboard.contacts.model import Consent
from callboard.errors import AlreadyExists
from callboard.ids import CampaignId, ContactId, MessageId, RunId
from callboard.messages.model import (
    HANDED_OVER,
    Candidate,
    Change,
    Chunk,
    Message,
    Reason,
    Run,
    RunState,
    State,
    Tally,
)
from callboard.segments.model import Criteria
from callboard.tenants.model import FrequencyCap
from callboard_adapters.sql import changes, freeze
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.batch import POSTGRESQL_NOW, SQLITE_NOW, parameters
from callboard_adapters.sql.counts import Key
from callboard_adapters.sql.runs import run_values, to_message, to_run
from callboard_adapters.sql.scope import Scope
from callboard_adapters.sql.segments import compile_criteria, count_eligible, eligible

c, k, m, r = t.contacts.c, t.chunks.c, t.messages.c, t.runs.c


class SqlLedger:
    """Runs, chunks and message rows; every change is a compare-and-set."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    # --- runs -----------------------------------------------------------------------------------------------------

    async def open_run(self, run: Run) -> None:
        values = run_values(run) | {"tenant_id": self._scope.tenant_id}
        try:
            await self._scope.connection.execute(insert(t.runs).values(values))
        except IntegrityError:
            raise AlreadyExists("That round exists") from None

    async def freeze(self, run: RunId, audience: Criteria, *, today: date, now: datetime, chunk: int) -> int:
        """One INSERT … SELECT over the contacts; constant memory."""
        chosen = and_(eligible(self._scope.tenant_id), self._compiled(audience, today))
        return await freeze.freeze(self._scope, run, chosen, now=now, chunk=chunk)

    async def freeze_failed(self, run: RunId, *, of: RunId, now: datetime, chunk: int) -> int:
        chosen = freeze.failed_recipients(self._scope, of)
        return await freeze.freeze(self._scope, run, chosen, now=now, chunk=chunk)

    async def eligible(self, audience: Criteria, *, today: date) -> int:
        return (await self.eligible_many({"": audience}, today=today))[""]

    async def eligible_many(self, audiences: Mapping[str, Criteria], *, today: date) -> Mapping[str, int]:
        """One pass for all of them."""
        if not audiences:
            return {}
        scope = self._scope
        counted = count_eligible(list(audiences.values()), today=today, sqlite=scope.sqlite, tenant_id=scope.tenant_id)
        row = (await scope.connection.execute(counted)).one()
        return {name: int(n) for name, n in zip(audiences, row, strict=True)}

    async def eligible_failed(self, of: RunId) -> int:
        counted = select(func.count()).select_from(t.contacts).where(freeze.failed_recipients(self._scope, of))
        return int((await self._scope.connection.execute(counted)).scalar_one())

    async def run(self, run: RunId) -> Run | None:
        found = await self._scope.connection.execute(_RUN, self._mine(run=run))
        row = found.mappings().first()
        return None if row is None else to_run(row)

    async def runs(self, campaign: CampaignId) -> list[Run]:
        """By number."""
        found = await self._scope.connection.execute(_RUNS, self._mine(campaign=campaign))
        return [to_run(row) for row in found.mappings()]

    async def move_run(self, run: RunId, *, to: RunState, expected: Collection[RunState], now: datetime) -> bool:
        """The run and its chunks: while it is not open, no chunk of it can be claimed or renewed.

        The chunks are locked first, so that no wave of the run is under way when its state changes.
        """
        connection, mine = self._scope.connection, self._mine(run=run)
        if set(expected) == {to}:  # no change: a wave, which holds its own chunk, locks its run to look at it
            return (await connection.execute(_LOCK_RUN, mine)).scalar_one_or_none() == to.value
        if to is not RunState.DONE:
            await connection.execute(_LOCK_CHUNKS, mine)
        ended = now if to in {RunState.CANCELLED, RunState.DONE} else None
        moved = (
            update(t.runs)
            .where(_MY_RUN, r.state.in_([state.value for state in expected]))
            .values(state=to.value, finished_at=ended)
        )
        if (await connection.execute(moved, mine)).rowcount != 1:
            return False
        if to is RunState.PAUSED:
            await connection.execute(_HOLD, mine)
        elif to is RunState.OPEN:
            await connection.execute(_OPEN, mine)
        elif to is RunState.CANCELLED:
            await connection.execute(_STOP, mine)
        return True

    async def cancel_queued(self, run: RunId, *, now: datetime) -> int:
        """One statement for all rows."""
        scope = self._scope
        values = parameters(sqlite=scope.sqlite, tenant=scope.tenant_id, run=run)
        if scope.sqlite:
            found = list((await scope.connection.execute(_QUEUED_BY_REASON, values)).all())
            await scope.connection.execute(_CANCEL_SQLITE, values)
        else:
            found = list((await scope.connection.execute(_CANCEL_POSTGRESQL, values)).all())
        for reason, n in found:
            scope.counts.add(Key(run, scope.tenant_id, t.UNDATED, State.QUEUED.value, reason), -n)
        total = sum(int(n) for _, n in found)
        cancelled = Key(run, scope.tenant_id, t.UNDATED, State.CANCELLED.value, Reason.CAMPAIGN_CANCELLED.value)
        scope.counts.add(cancelled, total)
        return total

    # --- waves ----------------------------------------------------------------------------------------------------

    async def renew(self, chunk: Chunk, *, lease: timedelta) -> bool:
        """Also locks the chunk until the wave commits, held or not: a pause or a cancel waits for the wave."""
        values = self._fence(chunk) | {"seconds": lease.total_seconds()}
        renewed = await self._scope.connection.execute(_RENEW_SQLITE if self._scope.sqlite else _RENEW, values)
        return bool(renewed.scalar_one_or_none() == "open")

    async def candidates(self, chunk: Chunk, *, limit: int, now: datetime, cap: FrequencyCap | None) -> list[Candidate]:
        """One statement: the rows, their contacts as they are now, suppressions and, with a cap, recent messages."""
        values = self._mine(
            run=chunk.run_id, number=chunk.number, first=chunk.first, last=chunk.last, limit=limit, now=now
        )
        if cap is None:
            found = await self._scope.connection.execute(_CANDIDATES, values)
        else:
            found = await self._scope.connection.execute(_CANDIDATES_CAPPED, values | {"since": now - cap.window})
        return [_candidate(row) for row in found.mappings()]

    async def mark(self, chunk: Chunk, changes_: Sequence[Change], *, now: datetime) -> frozenset[int]:
        return await changes.mark(self._scope, chunk, changes_, now=now)

    async def settle(
        self, chunk: Chunk, changes_: Sequence[Change], *, now: datetime, remember: bool
    ) -> frozenset[int]:
        return await changes.settle(self._scope, chunk, changes_, now=now, remember=remember)

    async def release(self, chunk: Chunk, *, now: datetime, not_before: datetime | None) -> bool:
        """The last one to close a chunk of a run finds all others closed: the run's row is locked to look."""
        connection = self._scope.connection
        mine = self._mine(run=chunk.run_id, first=chunk.first, last=chunk.last)
        left, ready, soonest = (await connection.execute(_LEFT, mine)).one()
        waits = [at for at in (None if ready else soonest, not_before) if at is not None]
        values: dict[str, object] = {"lease_until": None, "worker": None, "barren": 0}
        if not left:
            values["state"] = "closed"
        else:
            values["due_at"] = max(waits) if waits else text(self._now)
        released = update(t.chunks).where(_MY_CHUNK).values(values)
        if (await connection.execute(released, self._fence(chunk))).rowcount != 1:
            return False
        if left:
            return False
        await connection.execute(_LOCK_RUN, mine)
        return not (await connection.execute(_UNFINISHED, mine)).scalar_one()

    # --- reading --------------------------------------------------------------------------------------------------

    async def tally(self, runs: Collection[RunId]) -> Tally:
        """From the rollup, this transaction's own changes added: writing them here would break the lock order."""
        if not runs:
            return Tally(by_state={}, by_reason={})
        found = (await self._scope.connection.execute(_TALLY, self._mine(runs=list(runs)))).all()
        by_state: Counter[State] = Counter()
        by_reason: Counter[str] = Counter()
        for word, reason, n in (*found, *self._scope.counts.pending(self._scope.tenant_id, runs)):
            state = State(word)
            by_state[state] += int(n)
            if state not in HANDED_OVER and reason not in {"", Reason.CLEARED.value}:
                by_reason[reason] += int(n)
        return Tally(
            by_state={state: n for state, n in by_state.items() if n},
            by_reason={reason: n for reason, n in by_reason.items() if n},
        )

    async def message(self, message: MessageId) -> Message | None:
        found = await self.messages(message.run_id, after=message.seq - 1, limit=1)
        return found[0] if found and found[0].id == message else None

    async def messages(
        self,
        run: RunId,
        *,
        states: Collection[str] = (),
        contact: ContactId | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[Message]:
        """Rows by seq, keyset-paged."""
        stored = await self.run(run)
        if stored is None:
            return []
        chosen = _MESSAGES
        if states:
            chosen = chosen.where(m.state.in_(sorted(str(state) for state in states)))
            if set(states) == {State.FAILED}:
                chosen = chosen.where(m.failed_at.is_not(None))  # the partial index
        if contact is not None:
            chosen = chosen.where(m.contact_id == contact)
        found = await self._scope.connection.execute(chosen, self._mine(run=run, after=after, limit=limit))
        channel, campaign = stored.content.channel, stored.campaign_id
        return [to_message(row, campaign=campaign, channel=channel) for row in found.mappings()]

    # --- what the above share -------------------------------------------------------------------------------------

    @property
    def _now(self) -> str:
        return SQLITE_NOW if self._scope.sqlite else POSTGRESQL_NOW

    def _mine(self, **values: object) -> dict[str, Any]:
        return {"tenant": self._scope.tenant_id, **values}

    def _fence(self, chunk: Chunk) -> dict[str, Any]:
        """Parameters of a Core or a hand-written statement on one chunk while ``chunk`` is its last claim."""
        return {
            "tenant": self._scope.tenant_id,
            "run": chunk.run_id,
            "chunk_number": chunk.number,
            "my_claim": chunk.claim,
        }

    def _compiled(self, audience: Criteria, today: date) -> ColumnElement[bool]:
        scope = self._scope
        return compile_criteria(audience, today=today, sqlite=scope.sqlite, tenant_id=scope.tenant_id)


def _candidate(row: Any) -> Candidate:
    return Candidate(
        seq=row["seq"],
        contact_id=row["contact_id"],
        phone=row["phone"],
        first_name=row["first_name"],
        last_name=row["last_name"],
        attempt=row["attempt"],
        queued_at=row["queued_at"],
        consent=None if row["consent"] is None else Consent(row["consent"]),
        suppressed=row["suppressed"] is not None,
        recent=row.get("recent", 0),
        oldest_recent=row.get("oldest_recent"),
    )


# Statements are built once: building one costs more than running it.

_MY_RUN: Final = and_(r.tenant_id == bindparam("tenant"), r.id == bindparam("run"))
_RUN: Final = select(t.runs).where(_MY_RUN)
_RUNS: Final = (
    select(t.runs).where(r.tenant_id == bindparam("tenant"), r.campaign_id == bindparam("campaign")).order_by(r.number)
)
_LOCK_RUN: Final = select(r.state).where(_MY_RUN).with_for_update()

_CHUNKS_OF_RUN: Final = and_(k.tenant_id == bindparam("tenant"), k.run_id == bindparam("run"))
_LOCK_CHUNKS: Final = select(func.count()).select_from(
    select(k.number).where(_CHUNKS_OF_RUN, k.state != "closed").order_by(k.number).with_for_update().subquery()
)
_HOLD: Final = update(t.chunks).where(_CHUNKS_OF_RUN, k.state == "open").values(state="held")
_OPEN: Final = update(t.chunks).where(_CHUNKS_OF_RUN, k.state == "held").values(state="open")
_STOP: Final = (  # a chunk that somebody holds is closed when he gives it back
    update(t.chunks)
    .where(_CHUNKS_OF_RUN, k.state != "closed")
    .values(state=case((k.worker.is_(None), "closed"), else_="held"))
)
_UNFINISHED: Final = select(select(k.number).where(_CHUNKS_OF_RUN, k.state != "closed").exists())

_MY_CHUNK: Final = and_(
    _CHUNKS_OF_RUN,
    k.number == bindparam("chunk_number"),
    k.claim == bindparam("my_claim"),
    k.worker.is_not(None),
)


def _renewal(until: str) -> Any:
    return update(t.chunks).where(_MY_CHUNK).values(lease_until=text(until), barren=0).returning(k.state)


_RENEW: Final = _renewal(f"{POSTGRESQL_NOW} + make_interval(secs => :seconds)")
_RENEW_SQLITE: Final = _renewal("(strftime('%Y-%m-%d %H:%M:%f', 'now', :seconds || ' seconds') || '000')")

_IN_CHUNK: Final = and_(
    m.tenant_id == bindparam("tenant"),
    m.run_id == bindparam("run"),
    m.seq.between(bindparam("first"), bindparam("last")),
)
_LEFT: Final = select(
    func.count(),
    func.count().filter(m.state == State.QUEUED.value, m.next_at.is_(None)),
    func.min(m.next_at).filter(m.state == State.QUEUED.value),
).where(_IN_CHUNK, m.state.in_([State.QUEUED.value, State.SENDING.value]))

_WAITING: Final = (
    select(m.seq, m.contact_id, m.phone, m.first_name, m.last_name, m.attempt)
    .where(
        _IN_CHUNK,
        m.state == State.QUEUED.value,
        or_(m.next_at.is_(None), m.next_at <= bindparam("now", type_=t.UtcDateTime())),
    )
    .order_by(m.seq)
    .limit(bindparam("limit", type_=Integer))
    .subquery("w")
)
w = _WAITING.c
_RECENT: Final = and_(
    t.touches.c.tenant_id == bindparam("tenant"),
    t.touches.c.phone == w.phone,
    t.touches.c.at > bindparam("since", type_=t.UtcDateTime()),
)
_CANDIDATES: Final = (
    select(
        _WAITING,
        c.consent,
        t.suppressions.c.phone.label("suppressed"),
        select(k.created_at)
        .where(_CHUNKS_OF_RUN, k.number == bindparam("number"))
        .scalar_subquery()
        .label("queued_at"),
    )
    .select_from(
        _WAITING.outerjoin(
            t.contacts,
            and_(c.id == w.contact_id, c.tenant_id == bindparam("tenant"), c.deleted_at.is_(None)),
        ).outerjoin(
            t.suppressions,
            and_(t.suppressions.c.tenant_id == bindparam("tenant"), t.suppressions.c.phone == w.phone),
        )
    )
    .order_by(w.seq)
)
_CANDIDATES_CAPPED: Final = _CANDIDATES.add_columns(
    select(func.count()).where(_RECENT).correlate(_WAITING).scalar_subquery().label("recent"),
    select(func.min(t.touches.c.at)).where(_RECENT).correlate(_WAITING).scalar_subquery().label("oldest_recent"),
)

_TALLY: Final = (
    select(t.message_counts.c.state, t.message_counts.c.reason, func.sum(t.message_counts.c.n))
    .where(
        t.message_counts.c.tenant_id == bindparam("tenant"),
        t.message_counts.c.run_id.in_(bindparam("runs", expanding=True)),
        t.message_counts.c.n != 0,
    )
    .group_by(t.message_counts.c.state, t.message_counts.c.reason)
)
_MESSAGES: Final = (
    select(
        t.messages,
        # the freeze's time, which the run's first chunk keeps
        select(k.created_at).where(_CHUNKS_OF_RUN, k.number == 1).scalar_subquery().label("queued_at"),
    )
    .where(m.tenant_id == bindparam("tenant"), m.run_id == bindparam("run"), m.seq > bindparam("after"))
    .order_by(m.seq)
    .limit(bindparam("limit", type_=Integer))
)

_CANCELLED: Final = "SET state = 'cancelled', reason = 'campaign_cancelled', credits = 0, next_at = NULL"
_QUEUED: Final = "m.tenant_id = :tenant AND m.run_id = :run AND m.state = 'queued'"
_CANCEL_POSTGRESQL: Final = text(f"""
    WITH gone AS (
        UPDATE messages AS m {_CANCELLED}
        FROM messages AS o
        WHERE {_QUEUED} AND o.run_id = :run AND o.seq = m.seq AND m.reason IS NOT DISTINCT FROM o.reason
        RETURNING coalesce(o.reason, '') AS reason
    )
    SELECT reason, count(*) FROM gone GROUP BY reason
""")  # noqa: S608 - our own words
_QUEUED_BY_REASON: Final = text(f"SELECT coalesce(reason, ''), count(*) FROM messages AS m WHERE {_QUEUED} GROUP BY 1")  # noqa: S608 - our own words
_CANCEL_SQLITE: Final = text(f"UPDATE messages AS m {_CANCELLED} WHERE {_QUEUED}")
