"""What campaigns need from a store."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from callboard.campaigns.model import Campaign, CampaignStatus
from callboard.credits.ports import Credits
from callboard.delivery.ports import Inbox
from callboard.events import Outbox, Timers
from callboard.ids import CampaignId
from callboard.links.ports import Links
from callboard.messages.ports import Ledger, Senders
from callboard.segments.ports import Audiences, Segments
from callboard.tenants.model import Tenant
from callboard.tenants.ports import Settings


class Campaigns(Protocol):
    """The tenant's campaigns."""

    async def get(self, campaign: CampaignId) -> Campaign | None: ...

    async def get_for_update(self, campaign: CampaignId) -> Campaign | None:
        """The same, locked until the transaction ends: two changes of one campaign wait for each other."""
        ...

    async def by_name(self, name: str) -> Campaign | None: ...

    async def add(self, campaign: Campaign) -> None:
        """AlreadyExists when the name is taken."""
        ...

    async def save(self, campaign: Campaign, *, expected: Collection[CampaignStatus]) -> bool:
        """Compare-and-set on the stored status; False when it was none of ``expected``. AlreadyExists for the name."""
        ...

    async def remove(self, campaign: CampaignId) -> None: ...


class Work(Protocol):
    """One tenant's transaction."""

    @property
    def tenant(self) -> Tenant: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def segments(self) -> Segments: ...
    @property
    def audiences(self) -> Audiences: ...
    @property
    def campaigns(self) -> Campaigns: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def senders(self) -> Senders: ...
    @property
    def credits(self) -> Credits: ...
    @property
    def links(self) -> Links: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def timers(self) -> Timers: ...
    @property
    def inbox(self) -> Inbox: ...
