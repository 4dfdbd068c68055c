"""What links need from a store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Protocol

from callboard.ids import CampaignId, ContactId, TenantId
from callboard.links.model import Link


class Links(Protocol):
    """One tenant's links."""

    async def for_campaign(self, campaign: CampaignId) -> list[Link]: ...

    async def add(self, *links: Link) -> None: ...

    async def clicks(self, campaign: CampaignId) -> int:
        """Clicks by people on the campaign's links."""
        ...


class LinkDirectory(Protocol):
    """Look-up by token, before a tenant is known (system scope)."""

    async def by_token(self, token: str) -> Link | None: ...

    async def recipient(self, contact: ContactId) -> tuple[TenantId, str | None] | None:
        """Whose contact this is, and its phone; deleted contacts too: an unsubscribe link outlives its contact."""
        ...

    async def add_clicks(self, clicks: Mapping[tuple[TenantId, str, date], int]) -> None:
        """Add counted clicks per (tenant, token, UTC day), many at once."""
        ...


class SystemWork(Protocol):
    """A transaction across tenants."""

    @property
    def link_directory(self) -> LinkDirectory: ...
