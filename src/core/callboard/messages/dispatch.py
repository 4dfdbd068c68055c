"""Sending: lease a chunk, hand it over wave by wave, write every answer back; reliability.md 3.1.

A wave is at most what one client keeps in flight. One transaction writes the answers of the last wave, renews the
lease and marks the next wave ``sending``; only after it has committed are the providers called. So a kill leaves at
most one wave unknown, and an exception anywhere (also a commit whose answer was lost) leaves the chunk to the sweeper:
what was marked becomes unknown and is never sent again, what was not marked is queued still.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import attrs

from callboard.clock import Clock, Pauses
from callboard.credits.model import Entry
from callboard.credits.rules import refunded
from callboard.errors import NotConfigured
from callboard.ids import MessageId
from callboard.messages import gate
from callboard.messages.messages import OptOutReported, RunDrained
from callboard.messages.model import Candidate, Change, Chunk, Purpose, Reason, Run, RunState, State
from callboard.messages.ports import (
    Ambiguous,
    Answer,
    ChannelClient,
    Channels,
    Outbound,
    SystemWork,
    Work,
)
from callboard.messages.render import Renderer, UnsubscribeToken
from callboard.messages.rules import Settlement, expires_at, settle
from callboard.tenants import settings
from callboard.tenants.model import MessagingPolicy
from callboard.work import OpenSystemWork, OpenWork

LEASE = timedelta(seconds=60)
MAX_CLAIMS = 5
UNCONFIGURED_PAUSE = timedelta(seconds=60)
LONGEST_QUEUE = timedelta(seconds=5)
"""A sender booked further ahead than this by others: give the chunk back instead of holding marked rows."""


@attrs.frozen(kw_only=True)
class Attempt:
    """One message on its way: the row is ``sending`` with this attempt."""

    message: Outbound
    attempt: int
    queued_at: datetime


@attrs.frozen(kw_only=True)
class Wave:
    """What one transaction marked; ``start`` is when the sender's rate lets it go."""

    attempts: tuple[Attempt, ...]
    start: datetime


@attrs.frozen(kw_only=True)
class Lot:
    """A leased chunk with everything about it that stays the same from wave to wave."""

    chunk: Chunk
    run: Run
    policy: MessagingPolicy
    client: ChannelClient
    renderer: Renderer
    phones: dict[str, int] = attrs.field(factory=dict)

    @property
    def size(self) -> int:
        """Rows per wave: what the client keeps in flight, and no more than about a second of the sender's rate."""
        rate = self.client.per_second
        return max(1, min(self.client.concurrency, int(rate)) if rate > 0 else self.client.concurrency)


def never() -> bool:
    """Nobody asked to stop."""
    return False


@attrs.frozen(kw_only=True)
class Dispatcher:
    """One worker's hand on the queue. Any number of them may run, in any number of processes."""

    work: OpenWork[Work]
    system: OpenSystemWork[SystemWork]
    channels: Channels
    clock: Clock
    pauses: Pauses
    unsubscribe_token: UnsubscribeToken
    worker: str
    lease: timedelta = LEASE
    max_claims: int = MAX_CLAIMS

    async def run_once(self, *, stopping: Callable[[], bool] = never) -> bool:
        """Send one chunk as far as it goes now; False when there is none to claim.

        ``stopping`` is asked before every wave: when it says yes, the wave in flight is written down, the chunk goes
        back and nothing is left unknown. Errors of the store propagate; the chunk's lease then runs out.
        """
        async with self.system() as s:
            chunk = await s.queue.claim(worker=self.worker, lease=self.lease, max_claims=self.max_claims)
        if chunk is None:
            return False
        lot = await self._open(chunk)
        answers: Sequence[tuple[Attempt, Settlement]] = ()
        while lot is not None:
            wave = await self._wave(lot, answers, stop=stopping())
            if wave is None:
                break
            answers = await self._hand_over(lot, wave)
        return True

    async def _open(self, chunk: Chunk) -> Lot | None:
        """Everything a chunk needs, read once; None when it cannot be sent now and went back."""
        async with self.work(chunk.tenant_id) as w:
            run = await w.ledger.run(chunk.run_id)
            policy = settings.policy(w.tenant, await w.settings.all())
            if run is None:
                await w.ledger.release(chunk, now=self.clock.now(), not_before=None)
                return None
        try:
            client = await self.channels.client(chunk.tenant_id, run.content.channel)
        except NotConfigured as missing:
            async with self.work(chunk.tenant_id) as w:
                now = self.clock.now()
                until = now + UNCONFIGURED_PAUSE
                await w.ledger.renew(chunk, lease=self.lease)
                await w.senders.pause(run.content.channel, until=until, reason=missing.message)
                await release(w, chunk, run, now=now, not_before=until)
            return None
        renderer = Renderer.of(run, self.unsubscribe_token)
        return Lot(chunk=chunk, run=run, policy=policy, client=client, renderer=renderer)

    async def _wave(self, lot: Lot, answers: Sequence[tuple[Attempt, Settlement]], *, stop: bool) -> Wave | None:
        """One transaction between two calls of the provider; None when the chunk went back with it.

        Credits are booked last: they are the one row that every dispatcher of the tenant waits for.
        """
        wave: Wave | None = None
        async with self.work(lot.chunk.tenant_id) as w:
            now = self.clock.now()
            held = await w.ledger.renew(lot.chunk, lease=self.lease)
            refunds = await self._write_back(w, lot, answers, now=now)
            not_before: datetime | None = None
            if held and not stop:
                not_before = await self._obstacle(w, lot, answers, now=now)
                if not_before is None:
                    wave = await self._mark(w, lot, refunds, now=now)
            if wave is None:
                await release(w, lot.chunk, lot.run, now=now, not_before=not_before)
            if refunds:
                await w.credits.book(*refunds)
        return wave

    async def _write_back(
        self, w: Work, lot: Lot, answers: Sequence[tuple[Attempt, Settlement]], *, now: datetime
    ) -> list[Entry]:
        """Settle the last wave: rows, sender pauses, opt-outs; returns the refunds to book."""
        if not answers:
            return []
        changes = [settlement.change for _, settlement in answers]
        if any(change.state is State.QUEUED for change in changes) and not await _wanted(w, lot.run, now=now):
            changes = [_withdrawn(change) for change in changes]
        capped = lot.policy.frequency_cap is not None and lot.run.purpose is Purpose.MARKETING
        changed = await w.ledger.settle(lot.chunk, changes, now=now, remember=capped)
        pauses = [settlement.pause for _, settlement in answers if settlement.pause is not None]
        if pauses:
            longest = max(pauses, key=lambda pause: pause.until)
            await w.senders.pause(lot.run.content.channel, until=longest.until, reason=longest.reason)
        gone = [OptOutReported(phone=a.message.to) for a, settlement in answers if settlement.opted_out]
        if gone:
            await w.outbox.add(*gone)
        return _refunds(lot, [c for c in changes if c.refund and c.seq in changed], now=now)

    async def _obstacle(
        self, w: Work, lot: Lot, answers: Sequence[tuple[Attempt, Settlement]], *, now: datetime
    ) -> datetime | None:
        """Until when nothing of this chunk can leave, if so.

        The sender is paused, or others booked it far ahead, or the provider took nothing of the whole last wave: then
        the next rows would only burn their attempts on it.
        """
        channel, rate = lot.run.content.channel, lot.client.per_second
        paused = (await w.senders.state(channel)).paused_until
        if paused is not None and paused > now:
            return paused
        again = [s.change.next_at for _, s in answers if s.change.state is State.QUEUED and s.change.next_at]
        if again and len(again) == len(answers):
            return min(again)
        if rate > 0:
            start = await w.senders.reserve(channel, 0, per_second=rate, now=now)
            if start > now + LONGEST_QUEUE:
                return start
        return None

    async def _mark(self, w: Work, lot: Lot, refunds: list[Entry], *, now: datetime) -> Wave | None:
        """Ask the gate about the next rows and write its decisions; None when no row is due.

        Adds the refunds of skipped rows to ``refunds``.
        """
        marketing = lot.run.purpose is Purpose.MARKETING
        cap = lot.policy.frequency_cap if marketing else None
        candidates = await w.ledger.candidates(lot.chunk, limit=lot.size, now=now, cap=cap)
        if not candidates:
            return None
        changes: list[Change] = []
        attempts: dict[int, Attempt] = {}
        for candidate in candidates:
            message, missing = lot.renderer.render(candidate)
            decision = self._decide(lot, candidate, missing, now=now)
            changes.append(_marked(candidate, decision))
            if isinstance(decision, gate.Send):
                number = candidate.attempt + 1
                attempts[candidate.seq] = Attempt(message=message, attempt=number, queued_at=candidate.queued_at)
        changed = await w.ledger.mark(lot.chunk, changes, now=now)
        refunds += _refunds(lot, [c for c in changes if c.refund and c.seq in changed], now=now)
        leaving = tuple(attempt for seq, attempt in attempts.items() if seq in changed)
        start, rate = now, lot.client.per_second
        if leaving and rate > 0:
            start = await w.senders.reserve(lot.run.content.channel, len(leaving), per_second=rate, now=now)
        return Wave(attempts=leaving, start=start)

    def _decide(self, lot: Lot, candidate: Candidate, missing: Sequence[str], *, now: datetime) -> gate.Decision:
        return gate.decide(
            candidate,
            run_state=RunState.OPEN,  # the lease was renewed in this transaction, which a stopped run refuses
            purpose=lot.run.purpose,
            policy=lot.policy,
            missing=missing,
            now=now,
            duplicate=lot.phones.setdefault(candidate.phone, candidate.seq) != candidate.seq,
            expires_at=expires_at(lot.run.purpose, candidate.queued_at),
        )

    async def _hand_over(self, lot: Lot, wave: Wave) -> list[tuple[Attempt, Settlement]]:
        """Call the provider when the sender's rate allows; every attempt gets exactly one answer."""
        if not wave.attempts:
            return []
        delay = (wave.start - self.clock.now()).total_seconds()
        if delay > 0:
            await self.pauses.sleep(delay)
        answers: list[Answer] = []
        try:
            answers += await lot.client.send([attempt.message for attempt in wave.attempts])
        except Exception:  # noqa: BLE001 - a client that breaks its promise may have sent: nobody knows
            answers.clear()
        answers += [Ambiguous(provider_code="no_answer")] * (len(wave.attempts) - len(answers))
        now = self.clock.now()
        return [
            (a, settle(answer, seq=a.message.reference.seq, attempt=a.attempt, queued_at=a.queued_at, now=now))
            for a, answer in zip(wave.attempts, answers, strict=False)
        ]


async def release(w: Work, chunk: Chunk, run: Run, *, now: datetime, not_before: datetime | None) -> None:
    """Give a chunk back; whoever closes the last one of an open run says that it has drained."""
    if await w.ledger.release(chunk, now=now, not_before=not_before):
        await finish(w, run, now=now)


async def finish(w: Work, run: Run, *, now: datetime) -> bool:
    """Close a run that has nothing left to attempt; False when somebody else did, or it was stopped."""
    if not await w.ledger.move_run(run.id, to=RunState.DONE, expected=(RunState.OPEN,), now=now):
        return False
    await w.outbox.add(RunDrained(run_id=run.id, campaign_id=run.campaign_id))
    return True


async def _wanted(w: Work, run: Run, *, now: datetime) -> bool:
    """Whether rows may go back to the run's queue; locks the run's row, so that a cancel sees them or we see it."""
    while (current := await w.ledger.run(run.id)) is not None and current.state in (RunState.OPEN, RunState.PAUSED):
        if await w.ledger.move_run(run.id, to=current.state, expected=(current.state,), now=now):
            return True
    return False


def _withdrawn(change: Change) -> Change:
    """A row that would wait for another try, had the run not been cancelled while it was away."""
    if change.state is not State.QUEUED:
        return change
    return attrs.evolve(
        change, state=State.CANCELLED, reason=Reason.CAMPAIGN_CANCELLED, next_at=None, refund=True, burnt=True
    )


def _marked(candidate: Candidate, decision: gate.Decision) -> Change:
    """A gate decision as the change of its row."""
    seq, attempt = candidate.seq, candidate.attempt
    match decision:
        case gate.Send():
            return Change(seq=seq, attempt=attempt + 1, state=State.SENDING, reason=Reason.CLEARED)
        case gate.Hold(until=until, reason=reason):
            return Change(seq=seq, attempt=attempt, state=State.QUEUED, reason=reason, next_at=until)
        case gate.Skip(reason=reason):
            return Change(seq=seq, attempt=attempt, state=State.SKIPPED, reason=reason, refund=True)


def _refunds(lot: Lot, changes: Sequence[Change], *, now: datetime) -> list[Entry]:
    return [refunded(MessageId(lot.run.id, c.seq), reason=c.reason.value, now=now) for c in changes]
