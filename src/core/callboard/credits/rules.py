"""The movements of credits as facts with one key each: booking the same movement twice is impossible.

Invariant (tested): the entries of a run sum to minus the credits its message rows still hold.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from callboard.credits.model import Entry, EntryKind
from callboard.errors import InvalidInput
from callboard.ids import MessageId, RunId

MAX_GRANT = 1_000_000_000


def granted(amount: int, *, grant_id: UUID, reason: str | None, now: datetime) -> Entry:
    """Credits given to a tenant, 1..1,000,000,000; InvalidInput otherwise."""
    if not 1 <= amount <= MAX_GRANT:
        raise InvalidInput(f"Must be from 1 to {MAX_GRANT:,}", field="amount")
    return Entry(key=f"grant:{grant_id.hex}", kind=EntryKind.GRANT, amount=amount, run_id=None, reason=reason, at=now)


def debited(run: RunId, recipients: int, *, now: datetime) -> Entry:
    """What a run costs: one credit per recipient, in one entry."""
    return Entry(
        key=f"debit:{run.hex}", kind=EntryKind.DEBIT, amount=-recipients, run_id=run, reason="enqueued", at=now
    )


def refunded(message: MessageId, *, reason: str, now: datetime) -> Entry:
    """The credit of one message that was never accepted."""
    return Entry(key=f"refund:{message}", kind=EntryKind.REFUND, amount=1, run_id=message.run_id, reason=reason, at=now)


def cancelled(run: RunId, messages: int, *, now: datetime) -> Entry:
    """The credits of all messages a cancel took out of a run, in one entry."""
    return Entry(
        key=f"cancel:{run.hex}", kind=EntryKind.REFUND, amount=messages, run_id=run, reason="cancelled", at=now
    )


def written_off(message: MessageId, *, now: datetime) -> Entry:
    """A message proved accepted after its credit had come back: the tenant is not charged again."""
    return Entry(
        key=f"writeoff:{message}",
        kind=EntryKind.WRITEOFF,
        amount=0,
        run_id=message.run_id,
        reason="late proof",
        at=now,
    )
