"""Campaigns on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from callboard.campaigns import rules
from callboard.campaigns.messages import ChangeCampaign, CreateCampaign
from callboard.campaigns.model import Audience, CampaignStatus, ScheduleType
from callboard.errors import InvalidInput
from callboard.messages.model import Priority
from callboard_adapters.http.surfaces.store.wire.common import Camel

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(min_length=1, max_length=1600)]
Discount = Annotated[str, Meta(max_length=100)]
Moment = Annotated[datetime, Meta(tz=True)]
EveryDays = Annotated[int, Meta(ge=1, le=365)]
LegacyAudience = Annotated[str, Meta(pattern="^(all|men|women|male|female|segment:.+)$")]


class AudienceAll(Camel, tag_field="type", tag="all"):
    """Every opted-in contact."""


class AudienceSegment(Camel, tag_field="type", tag="segment"):
    """One segment."""

    segment_id: str


AudienceIn = AudienceAll | AudienceSegment | LegacyAudience
AudienceOut = str | dict[str, str]


class CampaignIn(Camel):
    """``POST /campaigns``. ``scheduleType`` may be left out: immediate."""

    name: Name
    message: Text
    audience: AudienceIn
    include_discount: bool | None = False
    discount_value: Discount | None = None
    schedule_type: ScheduleType | None = None
    schedule_at: Moment | None = None
    recurring_days: EveryDays | None = None
    priority: Priority | None = None


class CampaignPatch(Camel):
    """``PUT /campaigns/:id``: what is there changes."""

    name: Name | UnsetType = UNSET
    message: Text | UnsetType = UNSET
    audience: AudienceIn | UnsetType = UNSET
    include_discount: bool | UnsetType | None = UNSET
    discount_value: Discount | UnsetType | None = UNSET
    schedule_type: ScheduleType | UnsetType = UNSET
    schedule_at: Moment | UnsetType | None = UNSET
    recurring_days: EveryDays | UnsetType | None = UNSET
    priority: Priority | UnsetType = UNSET


class ScheduleIn(Camel):
    """``PUT /campaigns/:id/schedule``."""

    schedule_type: ScheduleType = ScheduleType.SCHEDULED
    schedule_at: Moment | None = None
    recurring_days: EveryDays | None = None


class Totals(Camel):
    """Rows of all rounds by where they are now: apart from ``recipients`` they are disjoint and sum to it.

    ``queued`` includes those being handed over right now, ``delivered`` those that were read.
    """

    recipients: int = 0
    queued: int = 0
    accepted: int = 0
    sent: int = 0
    delivered: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    unconfirmed: int = 0
    cancelled: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)


class CampaignMeta(Camel):
    """The discount, as the contract keeps it."""

    include_discount: bool
    discount_value: str | None


class CampaignOut(Camel):
    """A campaign row. ``sentCount`` counts what the provider accepted, whatever came after."""

    id: str
    name: str
    message: str
    status: CampaignStatus
    status_reason: str | None
    audience: AudienceOut
    include_discount: bool
    discount_value: str | None
    meta: CampaignMeta
    schedule_type: ScheduleType
    scheduled_at: datetime | None
    schedule_at: datetime | None
    recurring_days: int | None
    next_run_at: datetime | None
    priority: Priority
    created_at: datetime
    updated_at: datetime
    recipient_count: int
    sent_count: int
    delivered_count: int
    failed_count: int
    clicks: int
    totals: Totals


class EnqueuedOut(Camel, kw_only=True):
    """The truth about an enqueue."""

    status: Literal["queued"] = "queued"
    queued_recipients: int
    credits_debited: int


class CancelledOut(Camel):
    """What a cancel stopped."""

    id: str
    status: CampaignStatus
    cancelled_recipients: int
    credits_refunded: int


class MetricsOut(Camel):
    """Counts of all rounds: disjoint ones that sum to ``recipients``, then sums over them, and a rate in percent."""

    campaign_id: str
    status: CampaignStatus
    recipients: int
    queued: int
    accepted: int
    sent: int
    delivered: int
    failed: int
    skipped: int
    unknown: int
    unconfirmed: int
    cancelled: int
    by_reason: dict[str, int]
    recipient_count: int
    sent_count: int
    delivered_count: int
    failed_count: int
    delivery_rate: float
    clicks: int


class StatusOut(Camel):
    """Where the campaign is, the counts of all its rounds, and how far the newest one is (0 to 100).

    ``held_*`` say why a sending campaign does not move: its sender is paused, and until when at least.
    """

    id: str
    campaign_id: str
    status: CampaignStatus
    status_reason: str | None
    recipients: int
    queued: int
    accepted: int
    sent: int
    delivered: int
    failed: int
    skipped: int
    unknown: int
    unconfirmed: int
    cancelled: int
    by_reason: dict[str, int]
    progress: float
    held_until: datetime | None
    held_because: str | None
    next_run_at: datetime | None
    updated_at: datetime


class ProgressOut(Camel):
    """How far the newest round is: ``processed`` of ``total`` have left the queue."""

    campaign_id: str
    status: CampaignStatus
    run: int
    total: int
    processed: int
    remaining: int
    sent: int
    delivered: int
    failed: int
    percentage: float
    progress: float
    by_reason: dict[str, int]


class PreviewOut(Camel):
    """Whom an enqueue would reach now and what it would cost; ``message`` is rendered for one of them."""

    campaign_id: str
    recipient_count: int
    estimated_count: int
    credits_required: int
    credits_available: int
    can_send: bool
    message: str
    sms_parts: int
    characters: int
    placeholders: list[str]
    unknown_placeholders: list[str]


class FailedRecipientOut(Camel):
    """One failed row."""

    id: str
    contact_id: str | None
    phone: str
    phone_e164: str
    first_name: str | None
    last_name: str | None
    accepted: bool
    reason: str | None
    provider_code: str | None
    attempt: int
    failed_at: datetime | None


class RunOut(Camel):
    """One round of a campaign."""

    id: str
    number: int
    status: str
    recipients: int
    created_at: datetime
    finished_at: datetime | None
    retry_of: str | None
    totals: Totals


class RunsOut(Camel):
    """The rounds, first one first."""

    runs: list[RunOut]
    total: int


class SummaryOut(Camel):
    """All campaigns together."""

    total: int
    total_campaigns: int
    by_status: dict[str, int]
    draft: int
    scheduled: int
    sending: int
    paused: int
    sent: int
    failed: int
    cancelled: int
    total_recipients: int
    total_sent: int
    total_delivered: int
    total_failed: int
    delivery_rate: float


def read_audience(audience: AudienceIn) -> Audience:
    """Both formats; what cannot be understood is refused, never "everybody"."""
    if isinstance(audience, AudienceSegment):
        return rules.parse_audience({"type": "segment", "segmentId": audience.segment_id})
    return rules.parse_audience("all" if isinstance(audience, AudienceAll) else audience)


def create_command(body: CampaignIn, now: datetime) -> CreateCampaign:
    """``POST /campaigns`` as the core's command."""
    return CreateCampaign(
        name=body.name,
        message=body.message,
        audience=read_audience(body.audience),
        include_discount=bool(body.include_discount),
        discount_value=body.discount_value,
        schedule=rules.plan(body.schedule_type, body.schedule_at, body.recurring_days, now=now),
        priority=body.priority or Priority.NORMAL,
    )


def change_command(body: CampaignPatch, now: datetime) -> ChangeCampaign:
    """``PUT /campaigns/:id`` as the core's command: null empties the discount, and a schedule needs its type."""
    schedule = None
    if not isinstance(body.schedule_type, UnsetType):
        schedule = rules.plan(body.schedule_type, body.schedule_at or None, body.recurring_days or None, now=now)
    elif body.schedule_at or body.recurring_days:
        raise InvalidInput("Required with scheduleAt and recurringDays", field="scheduleType")
    return ChangeCampaign(
        name=body.name or None,
        message=body.message or None,
        audience=None if isinstance(body.audience, UnsetType) else read_audience(body.audience),
        include_discount=None if isinstance(body.include_discount, UnsetType) else bool(body.include_discount),
        discount_value=None if isinstance(body.discount_value, UnsetType) else body.discount_value or "",
        schedule=schedule,
        priority=body.priority or None,
    )
