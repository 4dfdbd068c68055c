"""Events of the ledger."""

from __future__ import annotations

from typing import ClassVar

import attrs

from callboard.events import Event
from callboard.ids import CampaignId, RunId


@attrs.frozen(kw_only=True)
class RunOpened(Event):
    """Recipients are frozen and paid for: dispatchers may take chunks."""

    type: ClassVar[str] = "run.opened"
    run_id: RunId
    campaign_id: CampaignId | None


@attrs.frozen(kw_only=True)
class RunDrained(Event):
    """Nothing of the run is left to attempt."""

    type: ClassVar[str] = "run.drained"
    run_id: RunId
    campaign_id: CampaignId | None


@attrs.frozen(kw_only=True)
class OptOutReported(Event):
    """A provider says that this number (E.164) stopped the tenant's marketing."""

    type: ClassVar[str] = "message.opt_out_reported"
    phone: str
