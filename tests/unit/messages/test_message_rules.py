"""The state machine: answers, back-off and the receipt lattice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.messages.model import Fact, Purpose, Reason, State
from callboard.messages.ports import Accepted, Ambiguous, Answer, NotSent, Refused, SenderBlocked
from callboard.messages.rules import (
    FACT_STATE,
    MAX_ATTEMPTS,
    RANK,
    STEPS,
    Settlement,
    advance,
    backoff,
    expires_at,
    settle,
    writes_off,
)

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def answered(answer: Answer, *, attempt: int = 1, age: timedelta = timedelta(0)) -> Settlement:
    return settle(answer, seq=1, attempt=attempt, queued_at=NOW - age, now=NOW)


BUSY = NotSent(reason=Reason.PROVIDER_BUSY, throttled=True, retry_after=90)
UNREACHABLE = NotSent(reason=Reason.PROVIDER_UNREACHABLE)


def test_an_accepted_message_keeps_its_credit_and_learns_the_providers_id() -> None:
    change = answered(Accepted(provider_message_id="p1")).change
    assert (change.state, change.provider_message_id, change.refund) == (State.ACCEPTED, "p1", False)


def test_a_definite_no_fails_at_once_with_the_credit_back() -> None:
    settled = answered(Refused(reason=Reason.NOT_ON_CHANNEL, provider_code="131026", opted_out=True))
    change = settled.change
    assert (change.state, change.reason, change.provider_code) == (State.FAILED, Reason.NOT_ON_CHANNEL, "131026")
    assert change.refund
    assert settled.opted_out


def test_an_ambiguous_answer_is_unknown_and_neither_retried_nor_refunded() -> None:
    change = answered(Ambiguous(), attempt=1).change
    assert (change.state, change.reason) == (State.UNKNOWN, Reason.NO_ANSWER)
    assert change.next_at is None
    assert not change.refund


def test_a_safe_failure_is_tried_again_up_to_five_times() -> None:
    for attempt in range(1, MAX_ATTEMPTS):
        change = answered(UNREACHABLE, attempt=attempt).change
        assert change.state is State.QUEUED
        assert change.burnt
        assert change.next_at is not None
        assert change.next_at > NOW
    change = answered(UNREACHABLE, attempt=MAX_ATTEMPTS).change
    assert (change.state, change.reason, change.refund) == (State.FAILED, Reason.GAVE_UP, True)


def test_a_429_burns_no_attempt_in_the_first_24_hours_and_does_afterwards() -> None:
    early = answered(BUSY, attempt=MAX_ATTEMPTS, age=timedelta(hours=23, minutes=59)).change
    assert (early.state, early.burnt) == (State.QUEUED, False)
    assert early.next_at is not None
    assert early.next_at >= NOW + timedelta(seconds=90)
    late = answered(BUSY, attempt=MAX_ATTEMPTS, age=timedelta(hours=24)).change
    assert (late.state, late.reason) == (State.FAILED, Reason.GAVE_UP)
    assert answered(BUSY, attempt=2, age=timedelta(hours=25)).change.burnt


def test_a_blocked_sender_gives_the_row_back_and_pauses_everybody_on_it() -> None:
    settled = answered(SenderBlocked(provider_code="190", reason="token expired", pause=timedelta(minutes=10)))
    assert (settled.change.state, settled.change.burnt, settled.change.refund) == (State.QUEUED, False, False)
    assert settled.pause is not None
    assert settled.pause.until == settled.change.next_at == NOW + timedelta(minutes=10)
    assert settled.pause.reason == "token expired"


@given(st.integers(1, 50), st.integers(1, 10_000), st.floats(-5, 1e9, allow_nan=False))
def test_back_off_is_what_the_provider_asks_for_up_to_its_cap(attempt: int, seq: int, asked: float) -> None:
    wait = backoff(attempt, spread=seq, retry_after=asked).total_seconds()
    capped = min(max(asked, 1), 3600)
    assert capped - 1e-6 <= wait <= capped * 1.25 + 1e-6


@given(st.integers(1, 50), st.integers(1, 10_000))
def test_our_own_back_off_has_a_floor_and_a_cap(attempt: int, seq: int) -> None:
    assert timedelta(seconds=30) <= backoff(attempt, spread=seq) <= timedelta(hours=1, minutes=15)


def test_back_off_grows() -> None:
    waits = [backoff(n, spread=0) for n in range(1, MAX_ATTEMPTS + 1)]
    assert waits == sorted(waits)
    assert waits[0] == timedelta(seconds=30)
    assert len(set(waits[:4])) == 4


@given(
    st.sampled_from([Accepted(provider_message_id="p"), Refused(reason=Reason.REFUSED, provider_code="x"), BUSY])
    | st.sampled_from([UNREACHABLE, Ambiguous(), SenderBlocked(provider_code="1", reason="r", pause=timedelta(1))]),
    st.integers(1, 9),
)
def test_every_answer_is_a_step_of_the_table_and_only_failures_refund(answer: Answer, attempt: int) -> None:
    change = answered(answer, attempt=attempt).change
    assert change.state in STEPS[State.SENDING]
    assert change.state in STEPS[State.UNKNOWN] | {State.UNKNOWN}
    assert change.refund == (change.state is State.FAILED)
    assert (change.next_at is not None) == (change.state is State.QUEUED)


# --- receipts ---------------------------------------------------------------------------------------------------------

facts = st.lists(st.sampled_from(Fact), max_size=8)
STARTS = [s for s in State if s not in (State.SENT, State.DELIVERED, State.READ)]


def seen(state: State, order: tuple[Fact, ...] | list[Fact]) -> State:
    return reduce(lambda now, fact: advance(now, fact) or now, order, state)


@given(st.sampled_from(STARTS), facts, st.randoms())
def test_receipts_form_a_lattice_in_any_order_with_duplicates(start: State, order: list[Fact], random: object) -> None:
    ends = {
        seen(start, order),
        seen(start, sorted(order)),
        seen(start, sorted(order, reverse=True)),
        seen(start, order * 2),
    }
    assert len(ends) == 1
    (end,) = ends
    assert RANK[end] == max([RANK[start], *(RANK[FACT_STATE[f]] for f in order)])


def test_every_order_of_all_facts_ends_in_read() -> None:
    for start in STARTS:
        assert {seen(start, order) for order in permutations(Fact)} == {State.READ}


@given(st.sampled_from(State), st.sampled_from(Fact))
def test_the_shown_status_never_goes_down(state: State, fact: Fact) -> None:
    after = advance(state, fact)
    if after is not None:
        assert RANK[after] > RANK[state]


def test_delivered_is_not_overwritten_by_sent_and_a_late_sent_never_leaves_failed() -> None:
    assert advance(State.DELIVERED, Fact.SENT) is None
    assert advance(State.READ, Fact.DELIVERED) is None
    assert advance(State.FAILED, Fact.SENT) is None
    assert advance(State.FAILED, Fact.DELIVERED) is State.DELIVERED
    assert advance(State.DELIVERED, Fact.FAILED) is None


@pytest.mark.parametrize("start", [s for s in State if RANK[s] == 0])
@pytest.mark.parametrize("fact", Fact)
def test_a_fact_proves_every_row_that_had_no_proof(start: State, fact: Fact) -> None:
    assert advance(start, fact) is FACT_STATE[fact]


def test_only_a_proof_of_a_refunded_message_is_written_off() -> None:
    for state in (State.UNCONFIRMED, State.SKIPPED, State.CANCELLED, State.FAILED):
        assert writes_off(state, 0)
        assert not writes_off(state, 1)
    for state in (State.DELIVERED, State.READ, State.SENT, State.ACCEPTED, State.UNKNOWN, State.SENDING):
        assert not writes_off(state, 0)


def test_an_order_update_expires_sooner_than_a_campaign() -> None:
    assert expires_at(Purpose.TRANSACTIONAL, NOW) < expires_at(Purpose.MARKETING, NOW)
