"""What a campaign may do from where it is, whom an audience means, and when rounds are due."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs

from callboard.campaigns.messages import ChangeCampaign, CreateCampaign
from callboard.campaigns.model import (
    Audience,
    Campaign,
    CampaignStatus,
    Everybody,
    InSegment,
    OfGender,
    Schedule,
    ScheduleType,
)
from callboard.clock import at_local_time
from callboard.contacts.model import Gender
from callboard.errors import AlreadySending, InvalidInput, InvalidStatus, NotFound
from callboard.ids import CampaignId, SegmentId
from callboard.messages.model import Priority
from callboard.messages.templates import check_text
from callboard.segments.model import EVERYBODY, Criteria, GenderIs, Segment
from callboard.values import clean_text

GRACE = timedelta(hours=6)
"""A round later than this is missed: it is reported and not sent (reliability.md 3.5)."""
FARTHEST = timedelta(days=5 * 366)
MAX_NAME = 200
MAX_DISCOUNT = 100
MISSED = "missed"

_GENDERS: Mapping[str, Gender] = {
    "men": Gender.MALE,
    "male": Gender.MALE,
    "women": Gender.FEMALE,
    "female": Gender.FEMALE,
}


class Action(StrEnum):
    """What people, timers and runs do to a campaign."""

    UPDATE = "update"
    SCHEDULE = "schedule"
    ENQUEUE = "enqueue"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


S = CampaignStatus
FROM: Mapping[Action, frozenset[CampaignStatus]] = {
    Action.UPDATE: frozenset({S.DRAFT, S.SCHEDULED, S.FAILED}),
    Action.SCHEDULE: frozenset({S.DRAFT, S.SCHEDULED, S.FAILED}),
    Action.ENQUEUE: frozenset({S.DRAFT, S.SCHEDULED, S.FAILED}),
    Action.PAUSE: frozenset({S.SENDING}),
    Action.RESUME: frozenset({S.PAUSED}),
    Action.CANCEL: frozenset({S.DRAFT, S.SCHEDULED, S.SENDING, S.PAUSED}),
    Action.RETRY: frozenset({S.SENT, S.SCHEDULED}),
    Action.DELETE: frozenset({S.DRAFT, S.SCHEDULED, S.FAILED, S.CANCELLED}),
}
"""The life cycle: draft/scheduled/failed → sending ⇄ paused → sent (a recurring one: → scheduled) or cancelled."""


def require(campaign: Campaign, action: Action) -> None:
    """InvalidStatus unless the life cycle has this step; AlreadySending for a second enqueue."""
    if campaign.status in FROM[action]:
        return
    if action is Action.ENQUEUE and campaign.status in (S.SENDING, S.PAUSED):
        raise AlreadySending("The campaign is being sent already", status=campaign.status.value)
    status = campaign.status.value
    raise InvalidStatus(f"Cannot {action.value} a campaign that is {status}", status=status)


# --- audience -----------------------------------------------------------------------------------------------------


def parse_audience(raw: object) -> Audience:
    """Both formats of contracts/store.md; whatever cannot be understood is InvalidInput, never "everybody"."""
    match raw:
        case "all":
            return Everybody()
        case str() if raw in _GENDERS:
            return OfGender(gender=_GENDERS[raw])
        case str() if raw.startswith("segment:"):
            return InSegment(segment_id=_segment_id(raw.removeprefix("segment:")))
        case Mapping() if raw.get("type") == "all":
            return Everybody()
        case Mapping() if raw.get("type") == "segment":
            return InSegment(segment_id=_segment_id(raw.get("segmentId")))
    raise InvalidInput('Must be "all" or a segment', field="audience")


def dump_audience(audience: Audience) -> str | dict[str, str]:
    """The JSON form; ``parse_audience(dump_audience(a)) == a``."""
    match audience:
        case Everybody():
            return "all"
        case OfGender(gender=gender):
            return "men" if gender is Gender.MALE else "women"
        case InSegment(segment_id=segment):
            return {"type": "segment", "segmentId": str(segment)}


def criteria_of(audience: Audience, segment: Segment | None) -> Criteria:
    """Whom the audience means; ``segment`` is the one it names, NotFound when this tenant has none such."""
    match audience:
        case Everybody():
            return EVERYBODY
        case OfGender(gender=gender):
            return GenderIs(gender=gender)
        case InSegment(segment_id=wanted):
            if segment is None or segment.id != wanted or not segment.active:
                raise NotFound("Segment not found", field="audience")
            return segment.resolved


def _segment_id(text: object) -> SegmentId:
    try:
        return SegmentId(UUID(text if isinstance(text, str) and len(text) == 36 else ""))
    except ValueError:
        raise InvalidInput("Not a segment id", field="audience") from None


# --- fields -------------------------------------------------------------------------------------------------------


def parse_priority(text: str | None) -> Priority:
    """``low``, ``normal`` (also when absent), ``high`` or ``urgent``."""
    try:
        return Priority.NORMAL if text is None else Priority(text)
    except ValueError:
        raise InvalidInput("Must be low, normal, high or urgent", field="priority") from None


def plan(type_: str | None, at: datetime | None, every_days: int | None, *, now: datetime) -> Schedule:
    """A schedule from a request: ``immediate`` when absent; what a type does not use is ignored.

    ``scheduled`` needs ``at`` in the future (at most five years), ``recurring`` needs ``every_days`` 1..365 and may
    have a first ``at``.
    """
    try:
        kind = ScheduleType.IMMEDIATE if type_ is None else ScheduleType(type_)
    except ValueError:
        raise InvalidInput("Must be immediate, scheduled or recurring", field="scheduleType") from None
    if kind is ScheduleType.IMMEDIATE:
        return Schedule()
    if kind is ScheduleType.RECURRING:
        if every_days is None or not 1 <= every_days <= 365:
            raise InvalidInput("Must be from 1 to 365", field="recurringDays")
        return Schedule(type=kind, at=None if at is None else _future(at, now), every_days=every_days)
    if at is None:
        raise InvalidInput("Required for a scheduled campaign", field="scheduleAt")
    return Schedule(type=kind, at=_future(at, now))


def _future(at: datetime, now: datetime) -> datetime:
    try:
        moment = at.astimezone(UTC) if at.tzinfo is not None else None
    except OverflowError:
        moment = None
    if moment is None:
        raise InvalidInput("Must be a date and time with its offset", field="scheduleAt")
    if moment <= now:
        raise InvalidInput("Must be in the future", field="scheduleAt")
    if moment > now + FARTHEST:
        raise InvalidInput("Too far in the future", field="scheduleAt")
    return moment


def create(command: CreateCampaign, *, campaign_id: CampaignId, now: datetime) -> Campaign:
    """A new campaign: draft, or scheduled when it has a first time. Name 1..200 and message 1..1600 characters."""
    draft = Campaign(
        id=campaign_id,
        name=_name(command.name),
        message=check_text(command.message),
        audience=command.audience,
        include_discount=command.include_discount,
        discount_value=_discount(command.discount_value),
        schedule=Schedule(),
        priority=command.priority,
        template=command.template,
        status=S.DRAFT,
        status_reason=None,
        current_run=None,
        rounds=0,
        next_run_at=None,
        created_at=now,
        updated_at=now,
    )
    return planned(draft, command.schedule, now=now)


def change(campaign: Campaign, command: ChangeCampaign, *, now: datetime) -> Campaign:
    """The campaign with the given fields replaced; a failed one becomes a draft (or scheduled) again."""
    require(campaign, Action.UPDATE)
    changed = attrs.evolve(
        campaign,
        name=campaign.name if command.name is None else _name(command.name),
        message=campaign.message if command.message is None else check_text(command.message),
        audience=command.audience or campaign.audience,
        include_discount=campaign.include_discount if command.include_discount is None else command.include_discount,
        discount_value=(
            campaign.discount_value if command.discount_value is None else _discount(command.discount_value)
        ),
        priority=command.priority or campaign.priority,
        template=command.template or campaign.template,
        updated_at=now,
    )
    if command.schedule is not None:
        return planned(changed, command.schedule, now=now)
    return attrs.evolve(changed, status=S.DRAFT, status_reason=None) if campaign.status is S.FAILED else changed


def planned(campaign: Campaign, schedule: Schedule, *, now: datetime) -> Campaign:
    """The campaign under a new schedule: scheduled when that has a time, else a draft."""
    require(campaign, Action.SCHEDULE)
    due = schedule.at if schedule.type is not ScheduleType.IMMEDIATE else None
    return attrs.evolve(
        campaign,
        schedule=schedule,
        status=S.DRAFT if due is None else S.SCHEDULED,
        status_reason=None,
        next_run_at=due,
        updated_at=now,
    )


def _name(text: str) -> str:
    return clean_text(text, field="name", min_length=1, max_length=MAX_NAME)


def _discount(text: str | None) -> str | None:
    return clean_text(text, field="discountValue", max_length=MAX_DISCOUNT) or None if text is not None else None


# --- due rounds ---------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Start:
    """Start a round now."""


@attrs.frozen(kw_only=True)
class Wait:
    """Not due yet."""

    until: datetime


@attrs.frozen(kw_only=True)
class Miss:
    """Too late: report it. ``next_at`` is the next round of a recurring campaign."""

    next_at: datetime | None


@attrs.frozen(kw_only=True)
class Ignore:
    """The timer is of another time: the campaign waits for no round."""


def due(campaign: Campaign, *, now: datetime, timezone: str) -> Start | Wait | Miss | Ignore:
    """What a fired timer means for the campaign as it is now.

    Late by at most the grace: start once. Several rounds missed in a row collapse to the newest one. Later than the
    grace: missed.
    """
    if campaign.status is not S.SCHEDULED or campaign.next_run_at is None:
        return Ignore()
    if campaign.next_run_at > now:
        return Wait(until=campaign.next_run_at)
    newest = max(campaign.next_run_at, _last_round(campaign, until=now, timezone=timezone) or campaign.next_run_at)
    if now - newest <= GRACE:
        return Start()
    return Miss(next_at=next_round(campaign, after=now, timezone=timezone))


def started(campaign: Campaign, *, now: datetime, timezone: str) -> Campaign:
    """The schedule after a round began: a recurring one started by hand counts its rounds from then."""
    if campaign.schedule.type is not ScheduleType.RECURRING:
        return attrs.evolve(campaign, next_run_at=None)
    anchored = attrs.evolve(campaign, schedule=attrs.evolve(campaign.schedule, at=campaign.schedule.at or now))
    return attrs.evolve(anchored, next_run_at=next_round(anchored, after=now, timezone=timezone))


def next_round(campaign: Campaign, *, after: datetime, timezone: str) -> datetime | None:
    """The first round of a recurring campaign after ``after``: the first one's local wall-clock time, every n days.

    Daylight saving: a local time that does not exist moves to the first valid moment, an ambiguous one is the first.
    """
    first = campaign.schedule.at
    if first is None or campaign.schedule.type is not ScheduleType.RECURRING:
        return None
    number = max(_passed(campaign.schedule, after, timezone), 0)
    while (moment := _round(campaign.schedule, number, timezone)) <= after:
        number += 1
    return moment


def _last_round(campaign: Campaign, *, until: datetime, timezone: str) -> datetime | None:
    """The latest round of a recurring campaign that is not later than ``until``."""
    if campaign.schedule.at is None or campaign.schedule.type is not ScheduleType.RECURRING:
        return None
    number = _passed(campaign.schedule, until, timezone) + 1
    while number >= 0 and _round(campaign.schedule, number, timezone) > until:
        number -= 1
    return _round(campaign.schedule, number, timezone) if number >= 0 else None


def _round(schedule: Schedule, number: int, timezone: str) -> datetime:
    """The ``number``-th round, from 0: always counted from the first, so that a shifted one shifts no other."""
    assert schedule.at is not None
    assert schedule.every_days is not None
    if number == 0:
        return schedule.at
    wall = schedule.at.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)
    return at_local_time(wall + timedelta(days=schedule.every_days * number), timezone)


def _passed(schedule: Schedule, moment: datetime, timezone: str) -> int:
    """How many rounds lie between the first and ``moment`` by the calendar, give or take one."""
    assert schedule.at is not None
    assert schedule.every_days is not None
    zone = ZoneInfo(timezone)
    return (moment.astimezone(zone).date() - schedule.at.astimezone(zone).date()).days // schedule.every_days
