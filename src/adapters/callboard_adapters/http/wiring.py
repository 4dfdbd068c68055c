"""One place that knows which of our parts the HTTP app needs beside the core's services."""

from __future__ import annotations

from collections.abc import Collection

from callboard.automations.service import AutomationService, ShopEventService
from callboard.campaigns.service import CampaignService
from callboard.clock import Clock
from callboard.contacts.service import ContactService, ImportService
from callboard.ids import Ids
from callboard.links.service import LinkService
from callboard.segments.service import SegmentService
from callboard.tenants.service import KeyService, SettingsService
from callboard_adapters.files import read_ahead
from callboard_adapters.http.clicks import Clicks
from callboard_adapters.http.container import Services
from callboard_adapters.http.health import Probes
from callboard_adapters.http.metrics import HttpMetrics
from callboard_adapters.http.tenants import TenantBook
from callboard_adapters.sql.idempotency import SqlIdempotency
from callboard_adapters.sql.queries.store import StoreReads
from callboard_adapters.sql.work import SqlStore
from callboard_adapters.webhooks.owners import Owners
from callboard_adapters.webhooks.receipts import ReceiptDesk


def services_over(
    store: SqlStore,
    *,
    clock: Clock,
    ids: Ids,
    campaigns: CampaignService,
    unsubscribe_keys: tuple[bytes, ...],
    metrics: HttpMetrics,
    probes: Probes,
    production: bool = False,
    redirect_allowed_hosts: Collection[str] = (),
) -> Services:
    """Everything :func:`create_app` needs, over one store and for one event loop.

    ``campaigns`` comes ready-made because it knows the public addresses and wakes the workers.
    """
    work, system = store.work, store.system
    links = LinkService(
        system=system,
        work=work,
        clock=clock,
        unsubscribe_keys=unsubscribe_keys,
        production=production,
        allowed_hosts=frozenset(redirect_allowed_hosts),
    )
    return Services(
        clock=clock,
        ids=ids,
        work=work,
        keys=KeyService(work=work, system=system, clock=clock, ids=ids),
        settings=SettingsService(work=work, system=system),
        contacts=ContactService(work=work, clock=clock, ids=ids),
        imports=ImportService(work=work, clock=clock, ahead=read_ahead),
        segments=SegmentService(work=work, clock=clock, ids=ids),
        campaigns=campaigns,
        automations=AutomationService(work=work, clock=clock, ids=ids),
        events=ShopEventService(work=work, clock=clock, ids=ids),
        links=links,
        reads=StoreReads(store),
        idempotency=SqlIdempotency(store.engine),
        tenants=TenantBook(system),
        owners=Owners(system),
        clicks=Clicks(links),
        receipts=ReceiptDesk(system=system, clock=clock, counted=metrics),
        probes=probes,
    )
