"""What readers get: plain rows, counted from the same rollups that the ledger keeps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal

import attrs

from callboard.campaigns.model import Campaign, CampaignStatus
from callboard.ids import CampaignId, ContactId, MessageId, RunId
from callboard.messages.model import Reason, RunState, Tally

CampaignSort = Literal["created_at", "updated_at", "name", "schedule_at"]
SortOrder = Literal["asc", "desc"]


@attrs.frozen(kw_only=True)
class CampaignRow:
    """A campaign with the counts of all its runs together and the clicks on its links."""

    campaign: Campaign
    tally: Tally
    clicks: int


@attrs.frozen(kw_only=True)
class RunProgress:
    """How far a campaign's newest run is. ``tally`` sums to ``recipients``."""

    run_id: RunId
    number: int
    state: RunState
    recipients: int
    created_at: datetime
    finished_at: datetime | None
    tally: Tally


@attrs.frozen(kw_only=True)
class FailedRecipient:
    """One failed message. ``accepted`` says that the provider had taken it before it failed."""

    id: MessageId
    contact_id: ContactId | None
    phone: str
    first_name: str | None
    last_name: str | None
    reason: Reason | None
    provider_code: str | None
    attempt: int
    accepted: bool
    failed_at: datetime


@attrs.frozen(kw_only=True)
class Summary:
    """All campaigns of a tenant: how many are in each status (absent: none), and all their messages."""

    campaigns: Mapping[CampaignStatus, int]
    tally: Tally

    @property
    def total(self) -> int:
        """Campaigns in any status."""
        return sum(self.campaigns.values())


@attrs.frozen(kw_only=True)
class Activity:
    """What happened in a span of days; messages count on the day of their acceptance or final failure."""

    sent: int
    delivered: int
    failed: int
    unsubscribes: int


@attrs.frozen(kw_only=True)
class TopCampaign:
    """A campaign and its counts."""

    id: CampaignId
    name: str
    created_at: datetime
    tally: Tally


@attrs.frozen(kw_only=True)
class DeliveryRate:
    """Percent of a day's sent messages that were delivered, one decimal."""

    day: date
    delivered_rate: float


@attrs.frozen(kw_only=True)
class CreditsUsed:
    """Credits debited on a day (refunds are not taken off)."""

    day: date
    credits_debited: int


@attrs.frozen(kw_only=True)
class Dashboard:
    """The tenant's figures. Days are the tenant's, oldest first, seven of them ending today.

    ``delivery_rate_trend`` has the days on which something was sent, ``credits_usage`` all seven.
    """

    credits: int
    total_campaigns: int
    total_contacts: int
    total_messages_sent: int
    active_automations: int
    last_7_days: Activity
    top_campaigns: tuple[TopCampaign, ...]
    delivery_rate_trend: tuple[DeliveryRate, ...]
    credits_usage: tuple[CreditsUsed, ...]
