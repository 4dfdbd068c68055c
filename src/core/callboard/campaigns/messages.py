"""Commands and events of campaigns."""

from __future__ import annotations

from typing import ClassVar

import attrs

from callboard.campaigns.model import Audience, Schedule
from callboard.events import Event
from callboard.ids import CampaignId, RunId
from callboard.messages.model import Priority, WhatsAppTemplate


@attrs.frozen(kw_only=True)
class CreateCampaign:
    """What a new campaign says, to whom and when; build ``audience`` and ``schedule`` with ``campaigns.rules``."""

    name: str
    message: str
    audience: Audience
    include_discount: bool = False
    discount_value: str | None = None
    schedule: Schedule = attrs.field(factory=Schedule)
    priority: Priority = Priority.NORMAL
    template: WhatsAppTemplate | None = None


@attrs.frozen(kw_only=True)
class ChangeCampaign:
    """A partial update: None leaves a field as it is; an empty ``discount_value`` removes it."""

    name: str | None = None
    message: str | None = None
    audience: Audience | None = None
    include_discount: bool | None = None
    discount_value: str | None = None
    schedule: Schedule | None = None
    priority: Priority | None = None
    template: WhatsAppTemplate | None = None


@attrs.frozen(kw_only=True)
class CampaignStarted(Event):
    """A round is frozen and paid for."""

    type: ClassVar[str] = "campaign.started"
    campaign_id: CampaignId
    run_id: RunId
    recipients: int


@attrs.frozen(kw_only=True)
class CampaignFinished(Event):
    """Nothing of the round is left to attempt."""

    type: ClassVar[str] = "campaign.finished"
    campaign_id: CampaignId
    run_id: RunId


@attrs.frozen(kw_only=True)
class CampaignFailed(Event):
    """A round could not start at its time; ``reason`` in a word."""

    type: ClassVar[str] = "campaign.failed"
    campaign_id: CampaignId
    reason: str


@attrs.frozen(kw_only=True)
class CampaignMissed(Event):
    """A round was due while nobody could start it, for longer than the grace: it was not sent."""

    type: ClassVar[str] = "campaign.missed"
    campaign_id: CampaignId


@attrs.frozen(kw_only=True)
class CampaignCancelled(Event):
    """Stopped by somebody; ``cancelled`` messages were taken out and their credits returned."""

    type: ClassVar[str] = "campaign.cancelled"
    campaign_id: CampaignId
    cancelled: int
