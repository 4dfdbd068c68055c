"""Campaigns without a store: audiences, schedules, the life cycle and due rounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.messages.shop import hex_id

from callboard.campaigns import rules
from callboard.campaigns.messages import ChangeCampaign, CreateCampaign
from callboard.campaigns.model import (
    Campaign,
    CampaignStatus,
    Everybody,
    InSegment,
    OfGender,
    Schedule,
    ScheduleType,
)
from callboard.campaigns.rules import Action
from callboard.contacts.model import Gender
from callboard.errors import AlreadySending, InvalidInput, InvalidStatus, NotFound
from callboard.ids import CampaignId, SegmentId
from callboard.messages.model import Priority
from callboard.segments.model import EVERYBODY, GenderIs, MemberOf, Segment, SegmentKind

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
SEGMENT = "00000000-0000-0000-0000-000000000005"


def campaign(**fields: Any) -> Campaign:
    made = rules.create(
        CreateCampaign(name="C", message="Hi", audience=Everybody()), campaign_id=CampaignId(hex_id(1)), now=NOW
    )
    return attrs.evolve(made, **fields)


# --- audience ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("all", Everybody()),
        ("men", OfGender(gender=Gender.MALE)),
        ("male", OfGender(gender=Gender.MALE)),
        ("women", OfGender(gender=Gender.FEMALE)),
        ("female", OfGender(gender=Gender.FEMALE)),
        (f"segment:{SEGMENT}", InSegment(segment_id=SegmentId(hex_id(5)))),
        ({"type": "all"}, Everybody()),
        ({"type": "all", "segmentId": None}, Everybody()),
        ({"type": "segment", "segmentId": SEGMENT}, InSegment(segment_id=SegmentId(hex_id(5)))),
    ],
)
def test_both_audience_formats_are_understood_and_come_back(raw: object, expected: Any) -> None:
    assert rules.parse_audience(raw) == expected
    assert rules.parse_audience(rules.dump_audience(expected)) == expected


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=12)
    | st.sampled_from(["segment:", "ALL", "all ", "MEN"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "segmentId", "id"]), inner),
    max_leaves=6,
)


@given(JSON)
def test_an_audience_that_cannot_be_understood_is_an_error_and_never_everybody(raw: object) -> None:
    try:
        parsed = rules.parse_audience(raw)
    except InvalidInput as refusal:
        assert refusal.field == "audience"
    else:
        said_so = raw == "all" or (isinstance(raw, dict) and raw.get("type") == "all")
        assert (parsed == Everybody()) == said_so


WRONG: list[object] = ["segment:", "segment:x", "MEN", "All", "", "segment", SEGMENT, None, 5, ["all"], {}]
WRONG += [{"type": "segment"}, {"type": "segment", "segmentId": 5}, {"type": "segment", "segmentId": ""}]
WRONG += [{"type": "men"}, {"segmentId": SEGMENT}]


@pytest.mark.parametrize("raw", WRONG)
def test_known_wrong_audiences_are_refused(raw: object) -> None:
    with pytest.raises(InvalidInput):
        rules.parse_audience(raw)


def test_a_segment_audience_means_the_segments_criteria_and_nothing_when_it_is_not_ours() -> None:
    audience = InSegment(segment_id=SegmentId(hex_id(5)))
    segment = Segment(
        id=SegmentId(hex_id(5)),
        key="k",
        name="n",
        kind=SegmentKind.CUSTOM,
        criteria=None,
        created_at=NOW,
        updated_at=NOW,
    )
    assert rules.criteria_of(audience, segment) == MemberOf(segment_id=segment.id)
    assert rules.criteria_of(Everybody(), None) == EVERYBODY
    assert rules.criteria_of(OfGender(gender=Gender.MALE), None) == GenderIs(gender=Gender.MALE)
    for wrong in (None, attrs.evolve(segment, id=SegmentId(hex_id(6))), attrs.evolve(segment, active=False)):
        with pytest.raises(NotFound):
            rules.criteria_of(audience, wrong)


# --- schedules --------------------------------------------------------------------------------------------------------

SOON = NOW + timedelta(hours=1)


def test_each_schedule_type_takes_what_it_uses() -> None:
    assert rules.plan(None, None, None, now=NOW) == Schedule()
    assert rules.plan("immediate", NOW, 7, now=NOW) == Schedule()
    assert rules.plan("scheduled", SOON, 7, now=NOW) == Schedule(type=ScheduleType.SCHEDULED, at=SOON)
    assert rules.plan("recurring", None, 365, now=NOW) == Schedule(type=ScheduleType.RECURRING, every_days=365)
    local = SOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert rules.plan("scheduled", local, None, now=NOW).at == SOON


@pytest.mark.parametrize(
    ("type_", "at", "every", "field"),
    [
        ("Scheduled", SOON, None, "scheduleType"),
        ("", None, None, "scheduleType"),
        ("scheduled", None, None, "scheduleAt"),
        ("scheduled", NOW, None, "scheduleAt"),
        ("scheduled", NOW - timedelta(seconds=1), None, "scheduleAt"),
        ("scheduled", NOW.replace(year=2076), None, "scheduleAt"),
        ("scheduled", SOON.replace(tzinfo=None), None, "scheduleAt"),
        ("scheduled", datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), None, "scheduleAt"),
        ("recurring", None, None, "recurringDays"),
        ("recurring", None, 0, "recurringDays"),
        ("recurring", None, -1, "recurringDays"),
        ("recurring", None, 366, "recurringDays"),
        ("recurring", None, 10**9, "recurringDays"),
        ("recurring", NOW, 7, "scheduleAt"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_refused_by_field(type_: str, at: Any, every: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        rules.plan(type_, at, every, now=NOW)
    assert refusal.value.field == field


def test_priorities_have_names() -> None:
    assert rules.parse_priority(None) is Priority.NORMAL
    assert rules.parse_priority("urgent") is Priority.URGENT
    assert min(Priority, key=lambda p: p.rank) is Priority.URGENT
    with pytest.raises(InvalidInput):
        rules.parse_priority("HIGH")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"message": ""}, "message"),
        ({"message": "x" * 1601}, "message"),
        ({"discount_value": "x" * 101}, "discountValue"),
    ],
)
def test_names_and_messages_have_lengths(fields: dict[str, Any], field: str) -> None:
    given_: dict[str, Any] = {"name": "n", "message": "m", "audience": Everybody(), **fields}
    with pytest.raises(InvalidInput) as refusal:
        rules.create(CreateCampaign(**given_), campaign_id=CampaignId(hex_id(1)), now=NOW)
    assert refusal.value.field == field


# --- life cycle -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", CampaignStatus)
@pytest.mark.parametrize("action", Action)
def test_every_step_is_allowed_or_refused_by_the_table(status: CampaignStatus, action: Action) -> None:
    there = campaign(status=status)
    if status in rules.FROM[action]:
        rules.require(there, action)
    else:
        with pytest.raises(InvalidStatus if action is not Action.ENQUEUE else (InvalidStatus, AlreadySending)):
            rules.require(there, action)


def test_a_second_enqueue_says_that_it_is_sending_already() -> None:
    for status in (CampaignStatus.SENDING, CampaignStatus.PAUSED):
        with pytest.raises(AlreadySending):
            rules.require(campaign(status=status), Action.ENQUEUE)
    for status in (CampaignStatus.SENT, CampaignStatus.CANCELLED):
        with pytest.raises(InvalidStatus):
            rules.require(campaign(status=status), Action.ENQUEUE)


def test_a_sending_or_sent_campaign_cannot_be_deleted() -> None:
    for status in (CampaignStatus.SENDING, CampaignStatus.SENT, CampaignStatus.PAUSED):
        with pytest.raises(InvalidStatus):
            rules.require(campaign(status=status), Action.DELETE)


def test_a_change_touches_only_what_is_given_and_revives_a_failed_campaign() -> None:
    failed = campaign(status=CampaignStatus.FAILED, status_reason="missed", discount_value="S")
    changed = rules.change(failed, ChangeCampaign(message="New"), now=SOON)
    assert changed == attrs.evolve(
        failed, message="New", status=CampaignStatus.DRAFT, status_reason=None, updated_at=SOON
    )
    assert rules.change(failed, ChangeCampaign(discount_value=""), now=SOON).discount_value is None
    planned = rules.change(failed, ChangeCampaign(schedule=Schedule(type=ScheduleType.SCHEDULED, at=SOON)), now=NOW)
    assert (planned.status, planned.next_run_at) == (CampaignStatus.SCHEDULED, SOON)


# --- due rounds -------------------------------------------------------------------------------------------------------


def waiting(at: datetime, every: int | None = None) -> Campaign:
    kind = ScheduleType.SCHEDULED if every is None else ScheduleType.RECURRING
    return campaign(
        status=CampaignStatus.SCHEDULED, schedule=Schedule(type=kind, at=at, every_days=every), next_run_at=at
    )


def test_a_round_starts_no_earlier_than_due_and_up_to_six_hours_late() -> None:
    late = timedelta(hours=6)
    for scheduled in (waiting(SOON), waiting(SOON, every=7)):
        assert rules.due(scheduled, now=NOW, timezone="UTC") == rules.Wait(until=SOON)
        assert rules.due(scheduled, now=SOON, timezone="UTC") == rules.Start()
        assert rules.due(scheduled, now=SOON + late, timezone="UTC") == rules.Start()
    over = SOON + late + timedelta(seconds=1)
    assert rules.due(waiting(SOON), now=over, timezone="UTC") == rules.Miss(next_at=None)
    assert rules.due(waiting(SOON, every=7), now=over, timezone="UTC") == rules.Miss(next_at=SOON + timedelta(days=7))


def test_several_missed_rounds_collapse_to_the_newest() -> None:
    weekly = waiting(SOON, every=7)
    third = SOON + timedelta(days=21)
    assert rules.due(weekly, now=third + timedelta(hours=2), timezone="UTC") == rules.Start()
    assert rules.due(weekly, now=third + timedelta(days=1), timezone="UTC") == rules.Miss(
        next_at=third + timedelta(days=7)
    )


def test_a_timer_of_another_time_means_nothing() -> None:
    for status in CampaignStatus:
        if status is not CampaignStatus.SCHEDULED:
            assert rules.due(attrs.evolve(waiting(SOON), status=status), now=SOON, timezone="UTC") == rules.Ignore()


def test_recurring_rounds_keep_the_shops_wall_clock_over_daylight_saving() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 3, 22, 10, 0, tzinfo=berlin).astimezone(UTC)
    later = rules.next_round(waiting(first, every=7), after=first, timezone="Europe/Berlin")
    assert later == datetime(2026, 3, 29, 10, 0, tzinfo=berlin).astimezone(UTC)
    assert later - first == timedelta(days=7, hours=-1)


def test_a_round_in_the_gap_moves_to_its_end_and_shifts_no_later_round() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 3, 28, 2, 30, tzinfo=berlin).astimezone(UTC)
    daily = waiting(first, every=1)
    second = rules.next_round(daily, after=first, timezone="Europe/Berlin")
    assert second == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)  # 03:00 summer time
    third = rules.next_round(daily, after=second, timezone="Europe/Berlin")
    assert third == datetime(2026, 3, 30, 2, 30, tzinfo=berlin).astimezone(UTC)


def test_an_ambiguous_round_happens_once_at_the_first_of_the_two_times() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 24, 2, 30, tzinfo=berlin).astimezone(UTC)
    second = rules.next_round(waiting(first, every=1), after=first, timezone="Europe/Berlin")
    assert second == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    third = rules.next_round(waiting(first, every=1), after=second, timezone="Europe/Berlin")
    assert third == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


zones = st.sampled_from(["UTC", "Asia/Kolkata", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])


@given(
    st.datetimes(NOW.replace(tzinfo=None), datetime(2027, 1, 1)),
    st.integers(1, 365),
    st.integers(0, 3 * 86_400 * 365),
    zones,
)
def test_rounds_follow_each_other_by_about_n_days_and_none_is_left_out(
    at: datetime, every: int, seconds: int, zone: str
) -> None:
    first = at.replace(tzinfo=UTC, microsecond=0)
    there, after = waiting(first, every=every), first + timedelta(seconds=seconds)
    found = rules.next_round(there, after=after, timezone=zone)
    assert found is not None
    assert after < found <= after + timedelta(days=every, hours=2)
    assert rules.next_round(there, after=found - timedelta(seconds=1), timezone=zone) == found
    follow = rules.next_round(there, after=found, timezone=zone)
    assert follow is not None
    assert abs((follow - found) - timedelta(days=every)) <= timedelta(hours=2)


def test_a_recurring_campaign_started_by_hand_counts_from_its_first_round() -> None:
    draft = campaign(schedule=Schedule(type=ScheduleType.RECURRING, every_days=3))
    begun = rules.started(draft, now=NOW, timezone="UTC")
    assert (begun.schedule.at, begun.next_run_at) == (NOW, NOW + timedelta(days=3))
    assert rules.started(waiting(SOON), now=NOW, timezone="UTC").next_run_at is None
