"""Short links by token, and the clicks on them by day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import attrs

from callboard.errors import AlreadyExists
from callboard.ids import CampaignId, ContactId, TenantId
from callboard.links.model import Link
from callboard_adapters.memory.scope import Repository, TenantRepository, port


class MemoryLinks(TenantRepository):
    """One tenant's links."""

    name = "links"

    @port
    def for_campaign(self, campaign: CampaignId) -> list[Link]:
        return self._of(campaign)

    @port
    def add(self, *links: Link) -> None:
        for link in links:
            if link.token in self._state.links:
                raise AlreadyExists("That token is taken")
            self._state.links.put(link.token, attrs.evolve(link, tenant_id=self._tenant_id))

    @port
    def clicks(self, campaign: CampaignId) -> int:
        tokens = {link.token for link in self._of(campaign)}
        return sum(n for (token, _), n in self._state.clicks.items() if token in tokens)

    def _of(self, campaign: CampaignId) -> list[Link]:
        links = self._state.links.values()
        return [link for link in links if link.tenant_id == self._tenant_id and link.campaign_id == campaign]


class MemoryLinkDirectory(Repository):
    """Every tenant's links."""

    name = "link_directory"

    @port
    def by_token(self, token: str) -> Link | None:
        return self._state.links.get(token)

    @port
    def recipient(self, contact: ContactId) -> tuple[TenantId, str | None] | None:
        for tenant, rows in self._state.tenants.items():
            if (found := rows.contacts.get(contact)) is not None:
                return tenant, None if found.phone is None else found.phone.e164
        return None

    @port
    def add_clicks(self, clicks: Mapping[tuple[TenantId, str, date], int]) -> None:
        for (_, token, day), n in clicks.items():
            self._state.clicks.put((token, day), self._state.clicks.get((token, day), 0) + n)
