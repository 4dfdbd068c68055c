"""One tenant's runs and messages, changed by compare-and-set only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta

import attrs

from callboard.contacts.model import Consent, Contact
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
from callboard_adapters.memory.book import ChunkRow, Row
from callboard_adapters.memory.scope import Scope, TenantRepository, port
from callboard_adapters.memory.segments import meant
from callboard_adapters.memory.state import TenantRows


class MemoryLedger(TenantRepository):
    """The rows live in the store's :class:`Book`, which all tenants share; every access asks whose run it is."""

    name = "ledger"

    def __init__(self, scope: Scope, mine: TenantRows) -> None:
        super().__init__(scope, mine)
        self._book = scope.state.book

    # --- runs -----------------------------------------------------------------------------------------------------

    @port
    def open_run(self, run: Run) -> None:
        if run.id in self._book.runs or (run.campaign_id, run.number) in self._book.rounds:
            raise AlreadyExists("That round exists")
        self._book.runs.put(run.id, attrs.evolve(run, tenant_id=self._tenant_id))
        if run.campaign_id is not None:
            self._book.rounds.put((run.campaign_id, run.number), run.id)

    @port
    def freeze(self, run: RunId, audience: Criteria, *, today: date, now: datetime, chunk: int) -> int:
        return self._freeze(run, self._eligible(meant(self._mine, audience, today=today)), now=now, chunk=chunk)

    @port
    def freeze_failed(self, run: RunId, *, of: RunId, now: datetime, chunk: int) -> int:
        return self._freeze(run, self._eligible(self._failed(of)), now=now, chunk=chunk)

    @port
    def eligible(self, audience: Criteria, *, today: date) -> int:
        return len(self._eligible(meant(self._mine, audience, today=today)))

    @port
    def eligible_many(self, audiences: Mapping[str, Criteria], *, today: date) -> Mapping[str, int]:
        counts = {name: self._eligible(meant(self._mine, one, today=today)) for name, one in audiences.items()}
        return {name: len(found) for name, found in counts.items()}

    @port
    def eligible_failed(self, of: RunId) -> int:
        return len(self._eligible(self._failed(of)))

    @port
    def run(self, run: RunId) -> Run | None:
        return self._run(run)

    @port
    def runs(self, campaign: CampaignId) -> list[Run]:
        mine = [r for r in self._book.runs.values() if r.campaign_id == campaign and r.tenant_id == self._tenant_id]
        return sorted(mine, key=lambda r: r.number)

    @port
    def move_run(self, run: RunId, *, to: RunState, expected: Collection[RunState], now: datetime) -> bool:
        stored = self._run(run)
        if stored is None or stored.state not in expected:
            return False
        finished = now if to in (RunState.CANCELLED, RunState.DONE) else None
        self._book.runs.put(run, attrs.evolve(stored, state=to, finished_at=finished))
        return True

    @port
    def cancel_queued(self, run: RunId, *, now: datetime) -> int:
        stored = self._run(run)
        if stored is None:
            return 0
        queued = [row for row in self._book.of_run(stored) if row.state is State.QUEUED]
        for row in queued:
            gone = attrs.evolve(row, state=State.CANCELLED, reason=Reason.CAMPAIGN_CANCELLED, credits=0, next_at=None)
            self._book.put(gone)
        return len(queued)

    # --- waves ----------------------------------------------------------------------------------------------------

    @port
    def renew(self, chunk: Chunk, *, lease: timedelta) -> bool:
        run = self._run(chunk.run_id)
        held = self._mine_held(chunk)
        if run is None or run.state is not RunState.OPEN or held is None:
            return False
        self._book.put_chunk(attrs.evolve(held, lease_until=self._scope.now() + lease, barren=0))
        return True

    @port
    def candidates(self, chunk: Chunk, *, limit: int, now: datetime, cap: FrequencyCap | None) -> list[Candidate]:
        stored = self._book.chunks.get((chunk.run_id, chunk.number))
        if stored is None or stored.tenant_id != self._tenant_id:
            return []
        found: list[Candidate] = []
        for row in self._book.of_chunk(stored):
            if len(found) == limit:
                break
            if row.state is State.QUEUED and (row.next_at is None or row.next_at <= now):
                found.append(self._candidate(row, now=now, cap=cap))
        return found

    @port
    def mark(self, chunk: Chunk, changes: Sequence[Change], *, now: datetime) -> frozenset[int]:
        held = self._mine_held(chunk)
        changed: set[int] = set()
        for change in changes if held is not None else ():
            row = self._book.rows.get((chunk.run_id, change.seq))
            sending = change.state is State.SENDING
            if row is None or row.state is not State.QUEUED or row.attempt != change.attempt - sending:
                continue
            self._book.put(_changed(row, change, now=now))
            changed.add(change.seq)
        return frozenset(changed)

    @port
    def settle(self, chunk: Chunk, changes: Sequence[Change], *, now: datetime, remember: bool) -> frozenset[int]:
        if self._run(chunk.run_id) is None:
            return frozenset()
        held = self._mine_held(chunk)
        changed: set[int] = set()
        for change in changes:
            row = self._book.rows.get((chunk.run_id, change.seq))
            if row is None or row.attempt != change.attempt:
                continue
            if row.state in (State.SENDING, State.UNKNOWN):
                if change.state is State.QUEUED and held is None:
                    continue  # expired meanwhile: its chunk may be closed, so it stays unknown and gets its credit back
                self._book.put(_changed(row, change, now=now))
                changed.add(change.seq)
                if remember and change.state is State.ACCEPTED:
                    self._mine.touches.put(row.phone, (*self._mine.touches.get(row.phone, ()), now))
            elif change.provider_message_id is not None and row.provider_message_id is None:
                self._book.put(attrs.evolve(row, provider_message_id=change.provider_message_id))
        return frozenset(changed)

    @port
    def release(self, chunk: Chunk, *, now: datetime, not_before: datetime | None) -> bool:
        held = self._mine_held(chunk)
        if held is None:
            return False
        rows = [row for row in self._book.of_chunk(held) if row.state in (State.QUEUED, State.SENDING)]
        free = attrs.evolve(held, lease_until=None, worker=None, barren=0)
        if not rows:
            self._book.put_chunk(attrs.evolve(free, state="closed"))
            return self._book.open_chunks[chunk.run_id] == 0
        due = min((row.next_at or now for row in rows if row.state is State.QUEUED), default=now)
        self._book.put_chunk(attrs.evolve(free, due_at=due if not_before is None else max(due, not_before)))
        return False

    # --- reading --------------------------------------------------------------------------------------------------

    @port
    def tally(self, runs: Collection[RunId]) -> Tally:
        mine = {run for run in runs if self._run(run) is not None}
        by_state: dict[State, int] = {}
        by_reason: dict[str, int] = {}
        for (run, state, reason), n in self._book.counts.items():
            if run not in mine or not n:
                continue
            by_state[state] = by_state.get(state, 0) + n
            if state not in HANDED_OVER and reason not in (None, Reason.CLEARED):
                by_reason[reason] = by_reason.get(reason, 0) + n
        return Tally(by_state=by_state, by_reason=by_reason)

    @port
    def message(self, message: MessageId) -> Message | None:
        run = self._run(message.run_id)
        row = self._book.rows.get((message.run_id, message.seq))
        return None if run is None or row is None else _message(run, row)

    @port
    def messages(
        self,
        run: RunId,
        *,
        states: Collection[str] = (),
        contact: ContactId | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[Message]:
        stored = self._run(run)
        if stored is None:
            return []
        found: list[Message] = []
        for row in self._book.slice(run, after + 1, stored.recipients):
            if len(found) == limit:
                break
            if (not states or row.state in states) and contact in (None, row.contact_id):
                found.append(_message(stored, row))
        return found

    # --- what the above share -------------------------------------------------------------------------------------

    def _run(self, run: RunId) -> Run | None:
        stored = self._book.runs.get(run)
        return stored if stored is not None and stored.tenant_id == self._tenant_id else None

    def _mine_held(self, chunk: Chunk) -> ChunkRow | None:
        held = self._book.held(chunk)
        return held if held is not None and held.tenant_id == self._tenant_id else None

    def _eligible(self, contacts: Iterable[Contact]) -> list[tuple[Contact, str]]:
        """With their phone, by id."""
        found = [
            (contact, contact.phone.e164)
            for contact in contacts
            if contact.phone is not None
            and contact.consent is Consent.OPTED_IN
            and contact.phone.e164 not in self._mine.suppressions
        ]
        return sorted(found, key=lambda pair: pair[0].id)

    def _failed(self, of: RunId) -> Iterable[Contact]:
        """The live contacts behind the failed rows of a run."""
        run = self._run(of)
        for row in () if run is None else self._book.of_run(run):
            contact = None if row.contact_id is None else self._mine.contacts.get(row.contact_id)
            if row.state is State.FAILED and contact is not None and contact.deleted_at is None:
                yield contact

    def _freeze(self, run: RunId, eligible: Sequence[tuple[Contact, str]], *, now: datetime, chunk: int) -> int:
        stored = self._run(run)
        assert stored is not None, "freeze of a run that was not opened"
        rows = (
            Row(
                tenant_id=self._tenant_id,
                run_id=run,
                seq=seq,
                contact_id=contact.id,
                phone=phone,
                first_name=contact.first_name,
                last_name=contact.last_name,
                queued_at=now,
            )
            for seq, (contact, phone) in enumerate(eligible, start=1)
        )
        return self._book.freeze(stored, rows, now=now, chunk=chunk)

    def _candidate(self, row: Row, *, now: datetime, cap: FrequencyCap | None) -> Candidate:
        contact = None if row.contact_id is None else self._mine.contacts.get(row.contact_id)
        gone = contact is None or contact.deleted_at is not None
        touches = self._mine.touches.get(row.phone, ()) if cap is not None else ()
        recent = [at for at in touches if cap is not None and at > now - cap.window]
        return Candidate(
            seq=row.seq,
            contact_id=row.contact_id,
            phone=row.phone,
            first_name=row.first_name,
            last_name=row.last_name,
            attempt=row.attempt,
            queued_at=row.queued_at,
            consent=None if contact is None or gone else contact.consent,
            suppressed=row.phone in self._mine.suppressions,
            recent=len(recent),
            oldest_recent=min(recent, default=None),
        )


def _changed(row: Row, change: Change, *, now: datetime) -> Row:
    """The row after a mark or an answer."""
    return attrs.evolve(
        row,
        state=change.state,
        reason=change.reason,
        attempt=change.attempt if change.burnt else change.attempt - 1,
        next_at=change.next_at,
        provider_code=change.provider_code,
        provider_message_id=change.provider_message_id or row.provider_message_id,
        credits=0 if change.refund else row.credits,
        sending_at=now if change.state is State.SENDING else row.sending_at,
        accepted_at=now if change.state is State.ACCEPTED else row.accepted_at,
        failed_at=now if change.state is State.FAILED else row.failed_at,
    )


def _message(run: Run, row: Row) -> Message:
    return Message(
        id=MessageId(row.run_id, row.seq),
        campaign_id=run.campaign_id,
        contact_id=row.contact_id,
        phone=row.phone,
        channel=run.content.channel,
        state=row.state,
        reason=row.reason,
        provider_code=row.provider_code,
        provider_message_id=row.provider_message_id,
        attempt=row.attempt,
        credits=row.credits,
        next_at=row.next_at,
        queued_at=row.queued_at,
        sending_at=row.sending_at,
        accepted_at=row.accepted_at,
        sent_at=row.sent_at,
        delivered_at=row.delivered_at,
        read_at=row.read_at,
        failed_at=row.failed_at,
    )
