"""A short link and a click."""

from __future__ import annotations

from datetime import datetime

import attrs

from callboard.ids import CampaignId, TenantId


@attrs.frozen(kw_only=True)
class Link:
    """``token`` has at least 64 random bits; ``expires_at`` None never expires."""

    token: str
    tenant_id: TenantId
    url: str
    campaign_id: CampaignId | None
    created_at: datetime
    expires_at: datetime | None = None
