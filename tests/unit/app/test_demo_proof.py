"""The demo's proof fails for every way in which a number can be wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import attrs
import pytest

from callboard.campaigns.model import Enqueued
from callboard.contacts.model import ImportReport
from callboard.ids import MessageId, RunId
from callboard.messages.model import Message, Reason, State, Tally
from callboard.tenants.model import Channel
from callboard_app.demo.proof import Evidence, checks

RUN = RunId(UUID(int=7))
Lie = Callable[[Evidence], Evidence]
NOW = datetime(2026, 11, 20, tzinfo=UTC)
SHORT, LONG, BASE = "https://c.example/r/abc", "https://shop.example/x", "https://c.example/unsubscribe/"


def row(seq: int, number: str, state: State, *, accepted: bool, reason: Reason = Reason.CLEARED) -> Message:
    return Message(
        id=MessageId(RUN, seq), campaign_id=None, contact_id=None, phone=number, channel=Channel.SMS, state=state,
        reason=reason, provider_code=None, provider_message_id=f"p{seq}" if accepted else None, attempt=1,
        credits=1 if accepted else 0, next_at=None, queued_at=NOW, sending_at=NOW,
        accepted_at=NOW if accepted else None,
        sent_at=None, delivered_at=None, read_at=None, failed_at=None,
    )  # fmt: skip


def entry(seq: int, number: str, text: str | None = None) -> dict[str, Any]:
    body = f"Hi! {SHORT}\nUnsubscribe: {BASE}{seq}" if text is None else text
    return {"to": number, "provider_message_id": f"p{seq}", "body": {"sms": {"text": body}}}


def evidence() -> Evidence:
    rows = [
        row(1, "+919000000001", State.DELIVERED, accepted=True),
        row(2, "+919000000002", State.DELIVERED, accepted=True),
        row(3, "+919009990002", State.FAILED, accepted=True, reason=Reason.UNDELIVERED),
        row(4, "+919009990001", State.FAILED, accepted=False, reason=Reason.REFUSED),
        row(5, "+919009990010", State.SENT, accepted=True),
    ]
    return Evidence(
        csv_rows=10,
        imported=ImportReport(total=10, created=7, updated=0, skipped=2, invalid=1, errors=()),
        preview=5,
        enqueued=Enqueued(run_id=RUN, recipients=5, credits_debited=5),
        tally=Tally(by_state=Counter(r.state for r in rows), by_reason={}),
        rows=rows,
        received=[entry(r.id.seq, r.phone) for r in rows if r.provider_message_id],
        credits_before=100,
        credits_after=96,
        short_url=SHORT,
        unsubscribe_url=BASE,
        destination=LONG,
        redirects_to=LONG,
    )


def test_the_truth_holds() -> None:
    assert [check.claim for check in checks(evidence()) if not check.holds] == []
    assert len(checks(evidence())) == 17


def _enqueued(**change: Any) -> Lie:
    return lambda e: attrs.evolve(e, enqueued=attrs.evolve(e.enqueued, **change))


def _first_row(**change: Any) -> Lie:
    return lambda e: attrs.evolve(e, rows=[attrs.evolve(e.rows[0], **change), *e.rows[1:]])


def _first_received(**change: Any) -> Lie:
    return lambda e: attrs.evolve(e, received=[{**e.received[0], **change}, *e.received[1:]])


def _first_text(text: str) -> Lie:
    return _first_received(body={"sms": {"text": text}})


LIES: dict[str, Lie] = {
    "a row of the file is lost": lambda e: attrs.evolve(e, csv_rows=11),
    "the preview differs": lambda e: attrs.evolve(e, preview=6),
    "one credit too many is debited": _enqueued(credits_debited=6),
    "more is queued than there are rows": _enqueued(recipients=6),
    "a ledger row is missing": lambda e: attrs.evolve(e, rows=e.rows[1:]),
    "the rollup drifts": lambda e: attrs.evolve(e, tally=attrs.evolve(e.tally, by_state={State.DELIVERED: 5})),
    "a message never arrived": lambda e: attrs.evolve(e, received=e.received[1:]),
    "a message arrived twice": lambda e: attrs.evolve(e, received=[*e.received, e.received[0]]),
    "a message went to somebody else": _first_received(to="+919999999999"),
    "the provider knows another id": _first_received(provider_message_id="px"),
    "a placeholder reached a customer": _first_text(f"Hi {{{{firstName}}}} {SHORT} {BASE}1"),
    "an unsubscribe link is missing": _first_text(f"Hi {SHORT}"),
    "two share an unsubscribe link": _first_text(f"Hi {SHORT} {BASE}2"),
    "the long link was sent": _first_text(f"{LONG} {SHORT} {BASE}1"),
    "the short link is missing": _first_text(f"Hi {BASE}1"),
    "the short link leads elsewhere": lambda e: attrs.evolve(e, redirects_to="https://evil.example"),
    "the short link is dead": lambda e: attrs.evolve(e, redirects_to=None),
    "a credit is lost": lambda e: attrs.evolve(e, credits_after=95),
    "a credit came back twice": lambda e: attrs.evolve(e, credits_after=97),
    "a delivered one is shown as sent": _first_row(state=State.SENT),
    "one is left unknown": _first_row(state=State.UNKNOWN),
    "an accepted one was refunded": _first_row(credits=0),
}


@pytest.mark.parametrize("what", LIES)
def test_each_lie_is_found(what: str) -> None:
    assert [check.claim for check in checks(LIES[what](evidence())) if not check.holds]
