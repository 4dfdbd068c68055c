"""A tenant is one shop, workspace or business; everything else belongs to exactly one."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from enum import StrEnum

import attrs

from callboard.ids import KeyId, TenantId


class Surface(StrEnum):
    """The public contracts a credential can be issued for."""

    STORE = "store"
    BOT = "bot"
    CRM = "crm"
    ASSISTANT = "assistant"
    BOOKING = "booking"


class Channel(StrEnum):
    """How a message travels."""

    SMS = "sms"
    WHATSAPP = "whatsapp"


@attrs.frozen(kw_only=True)
class Tenant:
    """``slug`` is unique and names it on the command line; ``region`` is ISO 3166 alpha-2, ``timezone`` IANA."""

    id: TenantId
    slug: str
    name: str
    region: str
    timezone: str
    created_at: datetime


@attrs.frozen(kw_only=True)
class QuietHours:
    """Local wall-clock span in which marketing waits; ``start > end`` runs over midnight."""

    start: time
    end: time


@attrs.frozen(kw_only=True)
class FrequencyCap:
    """At most ``limit`` marketing messages to one phone in any ``window``."""

    limit: int
    window: timedelta


@attrs.frozen(kw_only=True)
class MessagingPolicy:
    """What a tenant's settings say about sending; defaults send at any hour, uncapped, by SMS."""

    channel: Channel = Channel.SMS
    quiet_hours: QuietHours | None = None
    frequency_cap: FrequencyCap | None = None
    timezone: str = "UTC"


@attrs.frozen(kw_only=True)
class Credential:
    """An API key as stored: only its SHA-256. ``scopes`` empty means everything its surfaces allow."""

    id: KeyId
    tenant_id: TenantId
    label: str
    prefix: str
    digest: bytes
    surfaces: frozenset[Surface]
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


@attrs.frozen(kw_only=True)
class Principal:
    """Who is calling, as proved by a credential: nothing else decides the tenant."""

    tenant_id: TenantId
    subject: str
    surfaces: frozenset[Surface]
    scopes: frozenset[str]
    credential_id: str
