"""Campaigns by id, unique by name."""

from __future__ import annotations

from collections.abc import Collection

from callboard.campaigns.model import Campaign, CampaignStatus
from callboard.errors import AlreadyExists
from callboard.ids import CampaignId
from callboard_adapters.memory.scope import TenantRepository, port


class MemoryCampaigns(TenantRepository):
    """Units of work take turns here, so every read is a locked one."""

    name = "campaigns"

    @port
    def get(self, campaign: CampaignId) -> Campaign | None:
        return self._mine.campaigns.get(campaign)

    @port
    def get_for_update(self, campaign: CampaignId) -> Campaign | None:
        return self._mine.campaigns.get(campaign)

    @port
    def by_name(self, name: str) -> Campaign | None:
        return self._named(name)

    @port
    def add(self, campaign: Campaign) -> None:
        self._refuse_taken_name(campaign)
        self._mine.campaigns.put(campaign.id, campaign)

    @port
    def save(self, campaign: Campaign, *, expected: Collection[CampaignStatus]) -> bool:
        stored = self._mine.campaigns.get(campaign.id)
        if stored is None or stored.status not in expected:
            return False
        self._refuse_taken_name(campaign)
        self._mine.campaigns.put(campaign.id, campaign)
        return True

    @port
    def remove(self, campaign: CampaignId) -> None:
        self._mine.campaigns.drop(campaign)

    def _named(self, name: str) -> Campaign | None:
        return next((c for c in self._mine.campaigns.values() if c.name == name), None)

    def _refuse_taken_name(self, campaign: Campaign) -> None:
        holder = self._named(campaign.name)
        if holder is not None and holder.id != campaign.id:
            raise AlreadyExists("A campaign of that name exists", field="name")
