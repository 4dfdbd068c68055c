"""What must be true after the demo's campaign: our ledger on one side, what the provider received on the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from callboard.campaigns.model import Enqueued
from callboard.contacts.model import ImportReport
from callboard.messages.model import HANDED_OVER, Message, State, Tally

FAIL_LATER: Final = ("9990002", "9990003", "9990004")
NEVER_DELIVERED: Final = (*FAIL_LATER, "9990006", "9990010")
REFUSED: Final = ("9990001", "9990013")
"""Number endings and what the twin does to them: the expectation that does not come from our own code."""


@attrs.frozen(kw_only=True)
class Check:
    """One claim: what we say, what the other side says."""

    claim: str
    ours: object
    theirs: object

    @property
    def holds(self) -> bool:
        """Whether both say the same."""
        return self.ours == self.theirs


@attrs.frozen(kw_only=True)
class Evidence:
    """Everything the proof looks at. ``received`` are the twin's journal entries, ``rows`` our ledger of the run."""

    csv_rows: int
    imported: ImportReport
    preview: int
    enqueued: Enqueued
    tally: Tally
    rows: Sequence[Message]
    received: Sequence[Mapping[str, Any]]
    credits_before: int
    credits_after: int
    short_url: str
    unsubscribe_url: str
    destination: str
    redirects_to: str | None


def checks(evidence: Evidence) -> list[Check]:
    """Every claim of the report, each against a source of its own."""
    rows, received = evidence.rows, evidence.received
    imported = evidence.imported
    states = Counter(row.state for row in rows)
    texts = [_text(entry) for entry in received]
    sent = {row.provider_message_id: row.phone for row in rows if row.provider_message_id is not None}
    refunded = sum(row.credits == 0 for row in rows)
    unmagic = [entry["to"] for entry in received if not _number(entry).endswith(NEVER_DELIVERED)]
    return [
        Check(
            claim="rows in the file = created + updated + skipped + invalid",
            ours=imported.created + imported.updated + imported.skipped + imported.invalid,
            theirs=evidence.csv_rows,
        ),
        Check(claim="queued recipients = segment preview", ours=evidence.enqueued.recipients, theirs=evidence.preview),
        Check(claim="credits debited = ledger rows", ours=evidence.enqueued.credits_debited, theirs=len(rows)),
        Check(claim="the report's sum = ledger rows", ours=evidence.tally.recipients, theirs=len(rows)),
        Check(
            claim="the report's counts = the rows' states",
            ours={state: n for state, n in evidence.tally.by_state.items() if n},
            theirs=dict(states),
        ),
        Check(
            claim="messages the provider took = accepted and later",
            ours=sum(states[s] for s in HANDED_OVER)
            + sum(row.accepted_at is not None for row in rows if row.state is State.FAILED),
            theirs=len(received),
        ),
        Check(
            claim="… and they are the same messages, to the same numbers",
            ours={identity: _digits(phone) for identity, phone in sent.items()} == _journal(received),
            theirs=True,
        ),
        Check(
            claim="nobody was written to twice",
            ours=max(Counter(map(_number, received)).values(), default=0),
            theirs=min(1, len(received)),
        ),
        Check(
            claim="delivered = what the provider delivered",
            ours=states[State.DELIVERED] + states[State.READ],
            theirs=len(unmagic),
        ),
        Check(
            claim="failed = numbers the provider refuses or loses",
            ours=states[State.FAILED],
            theirs=sum(_digits(row.phone).endswith((*REFUSED, *FAIL_LATER)) for row in rows),
        ),
        Check(claim="texts without a placeholder", ours=len(texts), theirs=sum("{{" not in text for text in texts)),
        Check(
            claim="texts with their own unsubscribe link",
            ours=len(texts),
            theirs=len({link for text in texts if (link := _link(text, evidence.unsubscribe_url))}),
        ),
        Check(
            claim="texts with the short link, and not the long one",
            ours=len(texts),
            theirs=sum(evidence.short_url in text and evidence.destination not in text for text in texts),
        ),
        Check(claim="the short link leads to the shop", ours=evidence.redirects_to, theirs=evidence.destination),
        Check(
            claim="credits spent = debited less returned",
            ours=evidence.credits_before - evidence.credits_after,
            theirs=len(rows) - refunded,
        ),
        Check(
            claim="returned credits = messages refused before acceptance",
            ours=refunded,
            theirs=sum(_digits(row.phone).endswith(REFUSED) for row in rows)
            + states[State.SKIPPED]
            + states[State.CANCELLED],
        ),
        Check(claim="nothing is left open or unknown", ours=sum(states[s] for s in _UNSETTLED), theirs=0),
    ]


_UNSETTLED: Final = (State.QUEUED, State.SENDING, State.UNKNOWN, State.UNCONFIRMED)


def _digits(phone: str) -> str:
    return phone.removeprefix("+")


def _number(entry: Mapping[str, Any]) -> str:
    return _digits(str(entry["to"]))


def _journal(received: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {str(entry["provider_message_id"]): _number(entry) for entry in received}


def _text(entry: Mapping[str, Any]) -> str:
    return str(entry["body"]["sms"]["text"])


def _link(text: str, base: str) -> str | None:
    return next((word for word in text.split() if word.startswith(base)), None)
