"""What the app is made of: the services its handlers call and the settings it honours. The entry point fills both."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs

from callboard.automations.service import AutomationService, ShopEventService
from callboard.campaigns.service import CampaignService
from callboard.clock import Clock
from callboard.contacts.service import ContactService, ImportService
from callboard.ids import Ids, RunId, TenantId
from callboard.links.service import LinkService
from callboard.messages.model import Tally
from callboard.segments.service import SegmentService
from callboard.tenants.service import KeyService, SettingsService
from callboard.work import OpenWork
from callboard_adapters.http.clicks import Clicks
from callboard_adapters.http.health import Probes
from callboard_adapters.http.idempotency import IdempotencyStore
from callboard_adapters.http.tenants import TenantBook
from callboard_adapters.sql.queries.store import StoreReads
from callboard_adapters.webhooks.owners import Owners
from callboard_adapters.webhooks.receipts import ReceiptDesk


@attrs.frozen(kw_only=True)
class HttpConfig:
    """What the installation decides about HTTP.

    ``surfaces`` are the names to serve (those we have). ``token_secret`` signs JWTs. ``redis_url`` shares the rate
    limit over processes. ``production`` adds HSTS and takes https links only.
    """

    token_secret: str = attrs.field(repr=False)
    surfaces: Collection[str] = ("store",)
    allowed_origins: Collection[str] = ()
    rate_limit: str = "1200/minute"
    redis_url: str | None = attrs.field(default=None, repr=False)
    production: bool = False


@attrs.frozen(kw_only=True)
class Services:
    """Everything handlers may call. ``tenants``, ``owners``, ``clicks`` and ``receipts`` belong to one event loop."""

    clock: Clock
    ids: Ids
    work: OpenWork[Any]
    keys: KeyService
    settings: SettingsService
    contacts: ContactService
    imports: ImportService
    segments: SegmentService
    campaigns: CampaignService
    automations: AutomationService
    events: ShopEventService
    links: LinkService
    reads: StoreReads
    idempotency: IdempotencyStore
    tenants: TenantBook
    owners: Owners
    clicks: Clicks
    receipts: ReceiptDesk
    probes: Probes = attrs.field(factory=Probes)

    async def tallies(self, tenant: TenantId, runs: Collection[RunId]) -> Mapping[RunId, Tally]:
        """The counts of each run."""
        async with self.work(tenant) as w:
            return {run: await w.ledger.tally([run]) for run in runs}
