"""Movements of credits."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import attrs

from callboard.ids import RunId


class EntryKind(StrEnum):
    """Why credits moved."""

    GRANT = "grant"
    DEBIT = "debit"
    REFUND = "refund"
    WRITEOFF = "late_proof_writeoff"


@attrs.frozen(kw_only=True)
class Entry:
    """One movement. ``key`` is unique per tenant: the same movement cannot be booked twice.

    ``amount`` is signed (a debit is negative). A write-off has amount 0 for the tenant: it records that a message
    whose credit came back was proved delivered after all.
    """

    key: str
    kind: EntryKind
    amount: int
    run_id: RunId | None
    reason: str | None
    at: datetime
