"""The gate: one reason for every send, hold and skip."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.messages.shop import hex_id

from callboard.contacts.model import Consent
from callboard.ids import ContactId, MessageId, RunId
from callboard.messages.explain import WORDS, explain
from callboard.messages.gate import Decision, Hold, Send, Skip, decide, quiet_until
from callboard.messages.model import Candidate, Message, Purpose, Reason, RunState, State
from callboard.tenants.model import Channel, FrequencyCap, MessagingPolicy, QuietHours

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
NIGHT = QuietHours(start=time(21), end=time(9))
GOOD = Candidate(
    seq=1,
    contact_id=ContactId(hex_id(7)),
    phone="+919876543210",
    first_name="Asha",
    last_name=None,
    attempt=0,
    queued_at=NOON,
    consent=Consent.OPTED_IN,
    suppressed=False,
)


def ask(candidate: Candidate = GOOD, **more: Any) -> Decision:
    given_: dict[str, Any] = {
        "run_state": RunState.OPEN,
        "purpose": Purpose.MARKETING,
        "policy": MessagingPolicy(),
        "missing": (),
        "now": NOON,
    }
    return decide(candidate, **{**given_, **more})


def changed(**fields: Any) -> Candidate:
    return attrs.evolve(GOOD, **fields)


CAP = MessagingPolicy(frequency_cap=FrequencyCap(limit=2, window=timedelta(hours=24)))
OFTEN = changed(recent=2, oldest_recent=NOON - timedelta(hours=20))


@pytest.mark.parametrize(
    ("candidate", "more", "expected"),
    [
        (GOOD, {}, Send()),
        (GOOD, {"run_state": RunState.CANCELLED}, Skip(reason=Reason.CAMPAIGN_CANCELLED)),
        (GOOD, {"run_state": RunState.PAUSED}, Hold(until=None, reason=Reason.CAMPAIGN_PAUSED)),
        (changed(consent=None), {}, Skip(reason=Reason.CONTACT_DELETED)),
        (changed(consent=Consent.UNKNOWN), {}, Skip(reason=Reason.CONSENT_MISSING)),
        (changed(consent=Consent.OPTED_OUT), {}, Skip(reason=Reason.OPTED_OUT)),
        (changed(suppressed=True), {}, Skip(reason=Reason.SUPPRESSED)),
        (changed(phone="919876543210"), {}, Skip(reason=Reason.INVALID_NUMBER)),
        (changed(phone="junk"), {}, Skip(reason=Reason.INVALID_NUMBER)),
        (changed(phone=""), {}, Skip(reason=Reason.INVALID_NUMBER)),
        (GOOD, {"duplicate": True}, Skip(reason=Reason.DUPLICATE)),
        (GOOD, {"missing": ("1",)}, Skip(reason=Reason.MISSING_VARIABLE)),
        (GOOD, {"funded": False}, Skip(reason=Reason.INSUFFICIENT_CREDITS)),
        (GOOD, {"expires_at": NOON}, Skip(reason=Reason.EXPIRED)),
        (GOOD, {"expires_at": NOON + timedelta(seconds=1)}, Send()),
        (OFTEN, {"policy": CAP}, Hold(until=NOON + timedelta(hours=4), reason=Reason.FREQUENCY_CAP)),
        (changed(recent=1, oldest_recent=NOON), {"policy": CAP}, Send()),
        (OFTEN, {}, Send()),
        (
            GOOD,
            {"policy": MessagingPolicy(quiet_hours=NIGHT), "now": NOON.replace(hour=22)},
            Hold(until=datetime(2026, 5, 5, 9, tzinfo=UTC), reason=Reason.QUIET_HOURS),
        ),
        (GOOD, {"policy": MessagingPolicy(quiet_hours=NIGHT)}, Send()),
    ],
)
def test_the_truth_table(candidate: Candidate, more: dict[str, Any], expected: Decision) -> None:
    assert ask(candidate, **more) == expected


@pytest.mark.parametrize(
    "candidate",
    [
        changed(consent=None),
        changed(consent=Consent.OPTED_OUT),
        changed(consent=Consent.UNKNOWN),
        changed(suppressed=True),
        OFTEN,
    ],
)
def test_consent_opt_out_and_the_cap_do_not_stop_a_transactional_message(candidate: Candidate) -> None:
    policy = attrs.evolve(CAP, quiet_hours=QuietHours(start=time(0), end=time(23, 59)))
    assert ask(candidate, purpose=Purpose.TRANSACTIONAL, policy=policy) == Send()


def test_what_can_never_be_sent_comes_before_what_must_only_wait() -> None:
    policy = attrs.evolve(CAP, quiet_hours=QuietHours(start=time(0), end=time(23, 59)))
    opted_out = attrs.evolve(OFTEN, consent=Consent.OPTED_OUT)
    assert ask(opted_out, policy=policy, run_state=RunState.PAUSED) == Skip(reason=Reason.OPTED_OUT)


times = st.times().map(lambda t: t.replace(second=0, microsecond=0))
zones = st.sampled_from(["UTC", "Asia/Kolkata", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(lambda d: d.replace(tzinfo=UTC))


@given(times, times, zones, moments)
def test_quiet_hours_always_end_later_and_at_a_moment_that_is_not_quiet(
    start: time, end: time, zone: str, now: datetime
) -> None:
    quiet = QuietHours(start=start, end=end)
    until = quiet_until(now, quiet, zone)
    if until is not None:
        assert now < until <= now + timedelta(hours=26)
        assert quiet_until(until, quiet, zone) is None


def test_quiet_hours_end_after_the_gap_when_their_end_does_not_exist() -> None:
    quiet = QuietHours(start=time(22), end=time(2, 30))
    before = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)  # 01:30 in Berlin; 02:00 to 03:00 does not happen
    assert quiet_until(before, quiet, "Europe/Berlin") == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def test_an_hour_that_happens_twice_is_quiet_twice() -> None:
    quiet = QuietHours(start=time(22), end=time(2, 30))
    first = datetime(2026, 10, 25, 0, 15, tzinfo=UTC)  # 02:15 summer time in Berlin
    assert quiet_until(first, quiet, "Europe/Berlin") == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    second = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15 again
    assert quiet_until(second, quiet, "Europe/Berlin") == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_equal_ends_mean_no_quiet_hours() -> None:
    assert quiet_until(NOON, QuietHours(start=time(12), end=time(12)), "UTC") is None


# --- why ------------------------------------------------------------------------------------------------------------

ROW = Message(
    id=MessageId(RunId(hex_id(9)), 3),
    campaign_id=None,
    contact_id=None,
    phone="+919876543210",
    channel=Channel.SMS,
    state=State.SKIPPED,
    reason=Reason.OPTED_OUT,
    provider_code=None,
    provider_message_id=None,
    attempt=0,
    credits=0,
    next_at=None,
    queued_at=NOON,
    sending_at=None,
    accepted_at=None,
    sent_at=None,
    delivered_at=None,
    read_at=None,
    failed_at=None,
)


def test_every_reason_has_words_and_every_row_an_explanation() -> None:
    assert set(WORDS) == set(Reason)
    for state in State:
        for reason in Reason:
            lines = explain(attrs.evolve(ROW, state=state, reason=reason), Skip(reason=reason))
            assert len(lines) >= 4
            assert all(line.endswith(".") for line in lines)


def test_why_tells_state_reason_cost_and_what_the_gate_says_now_without_the_phone() -> None:
    lines = explain(ROW, Hold(until=NOON, reason=Reason.QUIET_HOURS), timezone="Asia/Kolkata")
    assert lines[0] == "It was not sent: the contact opted out of marketing (opted_out)."
    assert "It costs nothing: its credit is back." in lines
    assert lines[-1] == "The gate would hold it until 2026-05-04 17:30:00 IST: the shop's quiet hours are on."
    assert "98765" not in " ".join(lines)
