"""A provider's call as it came in, kept beside what it did."""

from __future__ import annotations

from datetime import datetime

import attrs

from callboard.ids import TenantId


@attrs.frozen(kw_only=True)
class WebhookCall:
    """The raw body of a callback; ``verdict`` is ``applied`` or ``ignored``; ``tenant_id`` None: several, or nobody."""

    tenant_id: TenantId | None
    provider: str
    verdict: str
    body: bytes
    received_at: datetime
