"""Wiring: settings in, one container of services out; HTTP, worker, command line and tests all come through here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs
import structlog

from callboard import subscriptions
from callboard.campaigns.rounds import Rounds
from callboard.campaigns.service import CampaignService
from callboard.clock import Clock
from callboard.contacts.service import ContactService, ImportService
from callboard.credits.service import CreditService
from callboard.delivery.deliver import Deliverer
from callboard.delivery.relay import Relay
from callboard.delivery.ticker import Ticker
from callboard.errors import AlreadyExists, Unavailable
from callboard.ids import ContactId, Ids, TenantId
from callboard.links.rules import unsubscribe_token
from callboard.messages.dispatch import Dispatcher
from callboard.messages.receipts import ReceiptService
from callboard.messages.sweep import Sweeper
from callboard.segments.service import SegmentService
from callboard.tenants.model import Surface, Tenant
from callboard.tenants.service import KeyService, SettingsService, TenantService
from callboard_adapters.channels import ChannelsConfig, ProviderChannels
from callboard_adapters.files import read_ahead
from callboard_adapters.jobs.brokers import memory_broker, redis_broker
from callboard_adapters.jobs.duties import ServiceDuties
from callboard_adapters.jobs.hints import BrokerHints
from callboard_adapters.jobs.runtime import Pace, WorkerRuntime
from callboard_adapters.outbound import Outbound
from callboard_adapters.sql.idempotency import SqlIdempotency
from callboard_adapters.sql.work import SqlStore
from callboard_adapters.system import AsyncioPauses, SystemClock, Uuid7Ids
from callboard_app.secret_key import derive, secret_key
from callboard_app.settings import Providers, Settings

if TYPE_CHECKING:
    from dramatiq import Broker

_log = structlog.get_logger(__name__)
DEFAULT_SLUG: Final = "default"
NO_TENANT: Final = Tenant(
    id=TenantId(Uuid7Ids().new()),
    slug="",
    name="",
    region="IN",
    timezone="UTC",
    created_at=datetime(1970, 1, 1, tzinfo=UTC),
)
"""Stands for the tenant where a command concerns none: no row has its id."""


@attrs.frozen(kw_only=True)
class Container:
    """Everything one event loop needs. Services hold no state; ``store`` and ``http`` own connections."""

    settings: Settings
    clock: Clock
    ids: Ids
    store: SqlStore
    http: Outbound
    broker: Broker
    hints: BrokerHints
    channels: ProviderChannels
    tenants: TenantService
    tenant_settings: SettingsService
    keys: KeyService
    credits: CreditService
    contacts: ContactService
    imports: ImportService
    segments: SegmentService
    campaigns: CampaignService
    receipts: ReceiptService
    token_secret: str = attrs.field(repr=False)
    unsubscribe_key: bytes = attrs.field(repr=False)

    def runtime(self, *, name: str, pace: Pace | None = None) -> WorkerRuntime:
        """A worker on this container's services."""
        return WorkerRuntime(self.duties(name), name=name, broker=self.broker, pace=pace)

    def duties(self, worker: str) -> ServiceDuties:
        """What a worker of this name does, step by step."""
        store, clock, hints = self.store, self.clock, self.hints
        work, system = store.work, store.system
        return ServiceDuties(
            dispatcher=Dispatcher(
                work=work,
                system=system,
                channels=self.channels,
                clock=clock,
                pauses=AsyncioPauses(),
                unsubscribe_token=self.unsubscribe_token,
                worker=worker,
            ),
            relay_service=Relay(system=system, hints=hints, subscribers=subscriptions.SUBSCRIPTIONS),
            deliverer=Deliverer(
                system=system,
                work=work,
                hints=hints,
                clock=clock,
                handlers=subscriptions.handlers(rounds=self.campaigns.rounds, clock=clock),
            ),
            ticker=Ticker(
                system=system,
                work=work,
                hints=hints,
                handlers=subscriptions.timer_handlers(rounds=self.campaigns.rounds),
                report=lambda what, error: _log.error(what, error=type(error).__name__, exc_info=error),
            ),
            sweeper=Sweeper(
                system=system,
                work=work,
                hints=hints,
                clock=clock,
                reconcile=timedelta(seconds=self.settings.reconcile_seconds),
            ),
            system=system,
            clock=clock,
            idempotency=SqlIdempotency(store.engine),
        )

    def unsubscribe_token(self, contact: ContactId) -> str:
        """The token behind a contact's unsubscribe link."""
        return unsubscribe_token(contact, self.unsubscribe_key)

    def issue_token(self, tenant: TenantId, user: str, surfaces: Collection[Surface], ttl: timedelta) -> str:
        """A signed token for a browser client."""
        from callboard_adapters.http.auth import issue_token

        return issue_token(self.token_secret, tenant, user, surfaces, ttl, now=self.clock.now())

    async def ping_broker(self) -> None:
        """Return when Redis answers; raises what it met. In-process there is nothing to ask."""
        if self.settings.redis_url is not None:
            from redis.asyncio import Redis

            async with Redis.from_url(
                self.settings.redis_url.get_secret_value(), socket_timeout=1, socket_connect_timeout=1
            ) as redis:
                await redis.ping()

    async def messages_by_state(self) -> Mapping[str, int]:
        """Every tenant's messages together, from the rollup."""
        from sqlalchemy import func, select

        from callboard_adapters.sql.tables import message_counts as counts
        from callboard_adapters.sql.transactions import transaction

        async with transaction(self.store.engine, None) as connection:
            rows = await connection.execute(select(counts.c.state, func.sum(counts.c.n)).group_by(counts.c.state))
            return {state: int(n) for state, n in rows if n}

    async def workers_alive(self) -> list[str]:
        """Names of the workers that spoke within the last twenty seconds."""
        async with self.store.system() as s:
            return await s.workers.alive(self.clock.now() - timedelta(seconds=20))

    async def equip(self, tenant: Tenant) -> None:
        """With ``CALLBOARD_PROVIDERS=sandbox``: credentials the twin takes, for a tenant that has none."""
        if self.settings.providers is not Providers.SANDBOX:
            return
        number = str(tenant.id.int)[-15:]  # as Meta's: digits only
        async with self.store.work(tenant.id) as w:
            for first, names in SANDBOX_CREDENTIALS.items():
                if await w.settings.secret(first) is None:
                    values = {name: value.format(id=tenant.id.hex, number=number) for name, value in names.items()}
                    await w.settings.put(values, secret=True)


SANDBOX_CREDENTIALS: Final = {
    "CALLBOARD_SMS_API_KEY": {
        "CALLBOARD_SMS_API_KEY": "sandbox-{id}",
        "CALLBOARD_SMS_SENDER": "Callboard",
        "CALLBOARD_SMS_ACCOUNT_ID": "sandbox",
    },
    "WHATSAPP_ACCESS_TOKEN": {
        "WHATSAPP_ACCESS_TOKEN": "sandbox-{id}",
        "WHATSAPP_PHONE_NUMBER_ID": "{number}",
        "WHATSAPP_APP_SECRET": "sandbox-app-secret",
        "WHATSAPP_VERIFY_TOKEN": "sandbox-verify-token",
    },
}
"""What tenants without a provider's first credential get when everything goes to the twin."""


@asynccontextmanager
async def bootstrap(
    settings: Settings,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    broker: Broker | None = None,
    store: SqlStore | None = None,
) -> AsyncIterator[Container]:
    """Build the container on the running loop and close what it opened. Nothing connects before it is used."""
    settings = settings.at_twin()
    key = secret_key(settings)
    clock, ids = clock or SystemClock(), ids or Uuid7Ids()
    if broker is None:
        broker = memory_broker() if settings.redis_url is None else redis_broker(settings.redis_url.get_secret_value())
    hints = BrokerHints(broker)
    store = store or SqlStore.open(
        settings.database_url.get_secret_value(), ids=ids, secret_key=derive(key, "stored secrets")
    )
    work, system = store.work, store.system
    async with store, Outbound() as http:
        config = ChannelsConfig(
            sms_base_url=settings.sms_base_url,
            sms_per_second=settings.sms_per_second,
            sms_requests=settings.concurrency,
            sms_bulk_size=settings.sms_bulk,
            whatsapp_base_url=settings.whatsapp_base_url,
            whatsapp_per_second=settings.whatsapp_per_second,
            whatsapp_requests=settings.concurrency,
        )
        rounds = Rounds(
            clock=clock,
            ids=ids,
            short_links=f"{settings.short_url.rstrip('/')}/r/",
            unsubscribe_links=f"{settings.public_url.rstrip('/')}/unsubscribe/",
            production=settings.production,
            allowed_hosts=settings.redirect_allowed_hosts,
        )
        try:
            yield Container(
                settings=settings,
                clock=clock,
                ids=ids,
                store=store,
                http=http,
                broker=broker,
                hints=hints,
                channels=ProviderChannels(work=work, http=http, config=config),
                tenants=TenantService(system=system, clock=clock, ids=ids),
                tenant_settings=SettingsService(work=work, system=system),
                keys=KeyService(work=work, system=system, clock=clock, ids=ids),
                credits=CreditService(work=work, clock=clock, ids=ids),
                contacts=ContactService(work=work, clock=clock, ids=ids),
                imports=ImportService(work=work, clock=clock, ahead=read_ahead),
                segments=SegmentService(work=work, clock=clock, ids=ids),
                campaigns=CampaignService(work=work, clock=clock, ids=ids, hints=hints, rounds=rounds),
                receipts=ReceiptService(system=system, clock=clock),
                token_secret=derive(key, "tokens").hex(),
                unsubscribe_key=derive(key, "unsubscribe"),
            )
        finally:
            await asyncio.to_thread(hints.close)


async def prepare(container: Container) -> None:
    """What must be there before anybody is served: a known schema, the default tenant, the twin's credentials.

    An SQLite file is migrated here; on PostgreSQL that is an operator's decision (SchemaOutdated), and a schema made by
    a newer version is refused on both (SchemaUnknown).
    """
    await asyncio.to_thread(_check_schema, container.settings, migrate=container.store.sqlite)
    await _default_tenant(container)
    if container.settings.providers is Providers.SANDBOX:
        for tenant in await container.tenants.list():
            await container.equip(tenant)


async def wait_for_schema(container: Container, stop: asyncio.Event) -> bool:
    """:func:`prepare`, again and again while the database does not answer; False when a stop came first."""
    pause = 0.25
    while not stop.is_set():
        try:
            await prepare(container)
        except Unavailable as error:
            _log.warning("database.unavailable", error=error.message, again_in=pause)
            try:
                await asyncio.wait_for(stop.wait(), pause)
            except TimeoutError:
                pause = min(pause * 2, 3.0)
        else:
            return True
    return False


def _check_schema(settings: Settings, *, migrate: bool) -> None:
    from callboard_adapters.sql import schema

    url = settings.database_url.get_secret_value()
    try:
        schema.check(url)
    except schema.SchemaOutdated:
        if not migrate:
            raise
        schema.migrate(url)


async def _default_tenant(container: Container) -> None:
    """The tenant ``default`` as the environment describes it: made on the first start, its variables stored on each."""
    wanted = {name: value.get_secret_value() for name, value in container.settings.tenant.items()}
    if not wanted:
        return
    async with container.store.system() as s:
        tenant = await s.directory.by_slug(DEFAULT_SLUG)
    if tenant is None:
        try:
            tenant = await container.tenants.create(slug=DEFAULT_SLUG, name="Default")
        except AlreadyExists:  # another process of this installation was first
            tenant = await container.tenants.by_slug(DEFAULT_SLUG)
        else:
            if container.settings.default_credits:
                await container.credits.grant(tenant.id, container.settings.default_credits, reason="opening balance")
    async with container.store.work(tenant.id) as w:
        changed = {name: value for name, value in wanted.items() if await w.settings.secret(name) != value}
        if changed:
            await w.settings.put(changed, secret=True)
