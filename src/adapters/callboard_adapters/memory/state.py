"""Everything the in-memory store holds, all of it under one journal."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

import attrs

from callboard.automations.model import Automation, ShopEvent, TextTemplate
from callboard.campaigns.model import Campaign
from callboard.contacts.model import ConsentRecord, Contact, Suppression
from callboard.credits.model import Entry
from callboard.events import StoredEvent
from callboard.ids import (
    AutomationId,
    CampaignId,
    ContactId,
    EventId,
    KeyId,
    SegmentId,
    TemplateId,
    TenantId,
)
from callboard.links.model import Link
from callboard.messages.model import Receipt
from callboard.messages.ports import SenderState
from callboard.segments.model import Segment
from callboard.tenants.model import Channel, Credential, Tenant
from callboard_adapters.memory.book import Book
from callboard_adapters.memory.journal import Journal, Rows


@attrs.frozen(kw_only=True)
class Parked:
    """A receipt whose message nobody knows yet."""

    receipt: Receipt
    received_at: datetime


@attrs.frozen(kw_only=True)
class Waiting:
    """One event for one subscriber. ``state`` is ``waiting``, ``done`` or ``dead``."""

    id: UUID
    tenant_id: TenantId
    event_id: EventId
    subscriber: str
    state: str
    attempt: int
    due_at: datetime
    lease_until: datetime | None = None
    error: str | None = None
    error_at: datetime | None = None


@attrs.frozen(kw_only=True)
class Timer:
    """Due work. ``claim`` counts the claims of this due time."""

    due_at: datetime
    claim: int = 0
    lease_until: datetime | None = None


class TenantRows:
    """What belongs to exactly one tenant: another tenant's rows cannot be reached from here."""

    def __init__(self, journal: Journal, tenant: Tenant) -> None:
        self.about: Rows[TenantId, Tenant] = Rows(journal)
        self.about.put(tenant.id, tenant)
        self.id = tenant.id
        self.settings: Rows[str, str] = Rows(journal)
        self.secrets: Rows[str, str] = Rows(journal)
        self.credentials: Rows[KeyId, Credential] = Rows(journal)
        self.contacts: Rows[ContactId, Contact] = Rows(journal)
        self.phones: Rows[str, ContactId] = Rows(journal)
        self.consents: Rows[str, tuple[ConsentRecord, ...]] = Rows(journal)
        self.suppressions: Rows[str, Suppression] = Rows(journal)
        self.segments: Rows[SegmentId, Segment] = Rows(journal)
        self.members: Rows[SegmentId, frozenset[ContactId]] = Rows(journal)
        self.balance: Rows[str, int] = Rows(journal)
        self.entries: Rows[str, Entry] = Rows(journal)
        self.campaigns: Rows[CampaignId, Campaign] = Rows(journal)
        self.automations: Rows[AutomationId, Automation] = Rows(journal)
        self.templates: Rows[TemplateId, TextTemplate] = Rows(journal)
        self.shop_events: Rows[tuple[str, str], ShopEvent] = Rows(journal)
        self.touches: Rows[str, tuple[datetime, ...]] = Rows(journal)
        self.senders: Rows[Channel, SenderState] = Rows(journal)
        self.next_slots: Rows[Channel, datetime] = Rows(journal)
        self.timers: Rows[tuple[str, str], Timer] = Rows(journal)

    @property
    def tenant(self) -> Tenant:
        """The tenant as it is now."""
        return self.about[self.id]


class State:
    """All tenants and what is looked up across them."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.tenants: Rows[TenantId, TenantRows] = Rows(self.journal)
        self.slugs: Rows[str, TenantId] = Rows(self.journal)
        self.digests: Rows[bytes, tuple[TenantId, KeyId]] = Rows(self.journal)
        self.links: Rows[str, Link] = Rows(self.journal)
        self.clicks: Rows[tuple[str, date], int] = Rows(self.journal)
        self.book = Book(self.journal)
        self.parked: Rows[tuple[str, str], Parked] = Rows(self.journal)
        self.events: Rows[EventId, StoredEvent] = Rows(self.journal)
        self.unpublished: Rows[EventId, None] = Rows(self.journal)
        self.deliveries: Rows[UUID, Waiting] = Rows(self.journal)
