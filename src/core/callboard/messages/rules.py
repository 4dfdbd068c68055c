"""How a message moves: our steps as a table, answers as changes, receipts as a lattice; reliability.md 3.1."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import assert_never

import attrs

from callboard.messages.model import Change, Fact, Purpose, Reason, State
from callboard.messages.ports import Accepted, Ambiguous, Answer, NotSent, Refused, SenderBlocked

MAX_ATTEMPTS = 5
THROTTLE_GRACE = timedelta(hours=24)
RETRY_AFTER_CAP = timedelta(hours=1)
FIRST_BACKOFF = timedelta(seconds=30)
BACKOFF_FACTOR = 5
MAX_AGE: Mapping[Purpose, timedelta] = {
    Purpose.MARKETING: timedelta(days=30),
    Purpose.TRANSACTIONAL: timedelta(hours=24),
}
"""How long a row may wait in the queue before the gate calls it expired."""

STEPS: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.QUEUED, State.SENDING, State.SKIPPED, State.CANCELLED}),
    State.SENDING: frozenset({State.ACCEPTED, State.FAILED, State.QUEUED, State.CANCELLED, State.UNKNOWN}),
    State.UNKNOWN: frozenset({State.ACCEPTED, State.FAILED, State.QUEUED, State.CANCELLED, State.UNCONFIRMED}),
    State.ACCEPTED: frozenset(),
    State.SENT: frozenset(),
    State.DELIVERED: frozenset(),
    State.READ: frozenset(),
    State.FAILED: frozenset(),
    State.SKIPPED: frozenset(),
    State.CANCELLED: frozenset(),
    State.UNCONFIRMED: frozenset(),
}
"""What *we* may do to a row. ``unknown`` takes a late answer of the same attempt; facts move rows by ``advance``."""

RANK: Mapping[State, int] = {
    State.QUEUED: 0,
    State.SENDING: 0,
    State.UNKNOWN: 0,
    State.UNCONFIRMED: 0,
    State.SKIPPED: 0,
    State.CANCELLED: 0,
    State.ACCEPTED: 1,
    State.SENT: 2,
    State.FAILED: 3,
    State.DELIVERED: 4,
    State.READ: 5,
}
"""Height in the receipt lattice; 0 is "no proof yet", which any fact beats."""

FACT_STATE: Mapping[Fact, State] = {
    Fact.SENT: State.SENT,
    Fact.FAILED: State.FAILED,
    Fact.DELIVERED: State.DELIVERED,
    Fact.READ: State.READ,
}

REFUNDED_WHEN = frozenset({State.FAILED, State.SKIPPED, State.CANCELLED, State.UNCONFIRMED})
"""States in which the credit may be back (``failed`` only when the refusal came before acceptance)."""


@attrs.frozen(kw_only=True)
class SenderPause:
    """The answer says that the sender as a whole must wait."""

    until: datetime
    reason: str


@attrs.frozen(kw_only=True)
class Settlement:
    """What an answer does to its row, and to the sender and the recipient beside it."""

    change: Change
    pause: SenderPause | None = None
    opted_out: bool = False


def settle(answer: Answer, *, seq: int, attempt: int, queued_at: datetime, now: datetime) -> Settlement:
    """Turn a provider's answer to ``attempt`` of row ``seq`` into its change; reliability.md 3.1, "What is ambiguous".

    Only a definite no gives the credit back; only "it never left us" and "not now" may try again; everything
    ambiguous is ``unknown`` and is never sent again.
    """
    match answer:
        case Accepted(provider_message_id=provider_id):
            change = Change(
                seq=seq,
                attempt=attempt,
                state=State.ACCEPTED,
                reason=Reason.CLEARED,
                provider_message_id=provider_id,
            )
            return Settlement(change=change)
        case Refused(reason=reason, provider_code=code, opted_out=opted_out):
            return Settlement(change=_failed(seq, attempt, reason, code), opted_out=opted_out)
        case NotSent():
            return Settlement(change=_again(answer, seq=seq, attempt=attempt, queued_at=queued_at, now=now))
        case SenderBlocked(provider_code=code, reason=why, pause=pause):
            until = now + pause
            change = Change(
                seq=seq,
                attempt=attempt,
                state=State.QUEUED,
                reason=Reason.SENDER_PAUSED,
                next_at=until,
                provider_code=code,
                burnt=False,
            )
            return Settlement(change=change, pause=SenderPause(until=until, reason=why))
        case Ambiguous(provider_code=code):
            change = Change(seq=seq, attempt=attempt, state=State.UNKNOWN, reason=Reason.NO_ANSWER, provider_code=code)
            return Settlement(change=change)
        case _ as unreachable:
            assert_never(unreachable)


def _again(answer: NotSent, *, seq: int, attempt: int, queued_at: datetime, now: datetime) -> Change:
    spared = answer.throttled and now - queued_at < THROTTLE_GRACE
    if attempt >= MAX_ATTEMPTS and not spared:
        return _failed(seq, attempt, Reason.GAVE_UP, answer.provider_code)
    return Change(
        seq=seq,
        attempt=attempt,
        state=State.QUEUED,
        reason=answer.reason,
        next_at=now + backoff(1 if spared else attempt, spread=seq, retry_after=answer.retry_after),
        provider_code=answer.provider_code,
        burnt=not spared,
    )


def _failed(seq: int, attempt: int, reason: Reason, code: str | None) -> Change:
    return Change(seq=seq, attempt=attempt, state=State.FAILED, reason=reason, provider_code=code, refund=True)


def backoff(attempt: int, *, spread: int, retry_after: float | None = None) -> timedelta:
    """Wait after the ``attempt``-th try: what the provider asks for (1 s to 1 h), else 30 s, 2.5 min, 12.5 min, 1 h.

    ``spread`` (the row's number) adds up to a quarter, so that a wave refused together does not come back together.
    """
    if retry_after is None:
        factor: int = BACKOFF_FACTOR ** min(max(attempt, 1) - 1, 3)
        wait = min(FIRST_BACKOFF * factor, RETRY_AFTER_CAP)
    else:
        wait = timedelta(seconds=min(max(retry_after, 1.0), RETRY_AFTER_CAP.total_seconds()))
    return wait + wait / 4 * (spread % 16) / 16


def advance(state: State, fact: Fact) -> State | None:
    """The state after a provider's fact, or None when the fact says nothing new.

    accepted < sent < failed < delivered < read: proof of delivery beats a failure, a late ``sent`` never leaves
    ``failed``. A row without proof (also ``unconfirmed``, ``skipped``, ``cancelled``, or ``queued`` again after an
    attempt we thought had not left) is where the provider says it is: a fact is proof that it went out. So any order
    of the same facts, with any duplicates, ends in the same state.
    """
    told = FACT_STATE[fact]
    return told if RANK[told] > RANK[state] else None


def writes_off(before: State, credit: int) -> bool:
    """Whether a fact that moves a row away from ``before`` proves a message whose credit had come back (``credit`` 0).

    The tenant is not charged again: a ``late_proof_writeoff`` of 0 is booked, once per message.
    """
    return credit == 0 and before in REFUNDED_WHEN


def expires_at(purpose: Purpose, queued_at: datetime) -> datetime:
    """When a waiting row is too old to be sent."""
    return queued_at + MAX_AGE[purpose]
