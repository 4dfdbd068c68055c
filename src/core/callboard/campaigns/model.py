"""A campaign and its life cycle; contracts/README.md section 4."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import attrs

from callboard.contacts.model import Gender
from callboard.ids import CampaignId, RunId, SegmentId
from callboard.messages.model import Priority, WhatsAppTemplate


class CampaignStatus(StrEnum):
    """Where a campaign is."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    SENDING = "sending"
    PAUSED = "paused"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ScheduleType(StrEnum):
    """When rounds start."""

    IMMEDIATE = "immediate"
    SCHEDULED = "scheduled"
    RECURRING = "recurring"


@attrs.frozen(kw_only=True)
class Schedule:
    """``at`` is the (first) start in UTC; ``every_days`` 1..365 for recurring ones."""

    type: ScheduleType = ScheduleType.IMMEDIATE
    at: datetime | None = None
    every_days: int | None = None


@attrs.frozen(kw_only=True)
class Everybody:
    """All opted-in contacts: only ever by saying so."""


@attrs.frozen(kw_only=True)
class OfGender:
    """Contacts of one gender."""

    gender: Gender


@attrs.frozen(kw_only=True)
class InSegment:
    """Contacts of one segment of this tenant."""

    segment_id: SegmentId


Audience = Everybody | OfGender | InSegment


@attrs.frozen(kw_only=True)
class Campaign:
    """``name`` is unique per tenant. ``status_reason`` says in a word why it failed or was missed."""

    id: CampaignId
    name: str
    message: str
    audience: Audience
    include_discount: bool
    discount_value: str | None
    schedule: Schedule
    priority: Priority
    template: WhatsAppTemplate | None
    status: CampaignStatus
    status_reason: str | None
    current_run: RunId | None
    rounds: int
    next_run_at: datetime | None
    created_at: datetime
    updated_at: datetime


@attrs.frozen(kw_only=True)
class Enqueued:
    """The truth about an enqueue: ``recipients`` rows exist and as many credits were debited."""

    run_id: RunId
    recipients: int
    credits_debited: int
