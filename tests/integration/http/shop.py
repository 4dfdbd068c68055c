"""Two shops behind the whole app on a real database, and a client that speaks to it in the same event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import httpx
from litestar import Litestar
from tests.unit.http.probe import started

from callboard.campaigns.rounds import Rounds
from callboard.campaigns.service import CampaignService
from callboard.contacts.model import Consent, Contact
from callboard.contacts.service import ContactChanges
from callboard.credits.service import CreditService
from callboard.tenants.model import Surface, Tenant
from callboard.tenants.service import TenantService
from callboard.values import Phone
from callboard_adapters.http.app import create_app
from callboard_adapters.http.auth import issue_token
from callboard_adapters.http.container import HttpConfig, Services
from callboard_adapters.http.health import Probes
from callboard_adapters.http.metrics import HttpMetrics
from callboard_adapters.http.wiring import services_over
from callboard_adapters.sql.work import SqlStore
from callboard_adapters.system import SystemClock, Uuid7Ids

TOKEN_SECRET = "a test secret of at least thirty-two characters"
UNSUBSCRIBE_KEY = b"unsubscribe-key-of-32-characters"
PUBLIC = "http://shop.test"


class CountedHints:
    """Wakes nobody; remembers that it was asked to."""

    def __init__(self) -> None:
        self.woken: list[tuple[str, ...]] = []

    async def wake(self, queue: str, *arguments: str) -> None:
        self.woken.append((queue, *arguments))


@attrs.frozen(kw_only=True)
class Shop:
    """One tenant with its credentials."""

    tenant: Tenant
    key: str
    services: Services
    credits: CreditService

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def token(self, *surfaces: Surface, ttl: timedelta = timedelta(hours=1), secret: str = TOKEN_SECRET) -> str:
        return issue_token(secret, self.tenant.id, "user-1", surfaces or (Surface.STORE,), ttl)

    async def contact(self, phone: str, **values: Any) -> Contact:
        changes = ContactChanges(phone=Phone(phone), **{"consent": Consent.OPTED_IN, **values})
        return await self.services.contacts.create(self.tenant.id, changes)

    async def contacts(self, n: int, start: int = 9_800_000_000) -> list[Contact]:
        return [await self.contact(f"+91{start + i}", first_name=f"Person {i}") for i in range(n)]


@attrs.frozen(kw_only=True)
class World:
    """The app, its parts and two shops."""

    app: Litestar
    client: httpx.AsyncClient
    store: SqlStore
    services: Services
    hints: CountedHints
    mine: Shop
    theirs: Shop

    async def call(self, method: str, path: str, *, shop: Shop | None = None, **options: Any) -> httpx.Response:
        headers = {**(shop or self.mine).auth, **options.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **options)

    async def data(self, method: str, path: str, *, status: int = 200, **options: Any) -> Any:
        answer = await self.call(method, path, **options)
        assert answer.status_code == status, answer.text
        body = answer.json()
        assert body["success"] is True
        return body["data"]

    async def campaign(self, name: str = "Summer Sale", **values: Any) -> dict[str, Any]:
        body = {"name": name, "message": "Hello {{firstName}}, {{discount}}!", "audience": "all", **values}
        return dict(await self.data("POST", "/campaigns", status=201, json=body))


def build(
    store: SqlStore, hints: CountedHints, *, config: dict[str, Any] | None = None, probes: Probes | None = None
) -> tuple[Litestar, Services]:
    """The app over a store."""
    clock, ids = SystemClock(), Uuid7Ids()
    rounds = Rounds(clock=clock, ids=ids, short_links=f"{PUBLIC}/r/", unsubscribe_links=f"{PUBLIC}/unsubscribe/")
    metrics = HttpMetrics()
    services = services_over(
        store,
        clock=clock,
        ids=ids,
        campaigns=CampaignService(work=store.work, clock=clock, ids=ids, hints=hints, rounds=rounds),
        unsubscribe_keys=(UNSUBSCRIBE_KEY,),
        metrics=metrics,
        probes=probes or Probes(),
    )
    return create_app(services, HttpConfig(token_secret=TOKEN_SECRET, **(config or {})), metrics=metrics), services


@asynccontextmanager
async def world(
    url: str, *, config: dict[str, Any] | None = None, probes: Probes | None = None
) -> AsyncIterator[World]:
    """Everything over ``url``, whose schema is there already."""
    hints = CountedHints()
    async with SqlStore.open(url, ids=Uuid7Ids(), secret_key=b"k" * 32) as store:
        app, services = build(store, hints, config=config, probes=probes)
        accounts = CreditService(work=store.work, clock=services.clock, ids=services.ids)
        tenants = TenantService(system=store.system, clock=services.clock, ids=services.ids)
        shops = []
        for slug in ("mine", "theirs"):
            tenant = await tenants.create(slug=slug, name=f"Shop {slug}")
            key = await services.keys.create(tenant.id, surfaces=[Surface.STORE], label="test")
            await accounts.grant(tenant.id, 1_000, reason="test")
            shops.append(Shop(tenant=tenant, key=key.text, services=services, credits=accounts))
        async with started(app), client_of(app) as client:
            yield World(
                app=app,
                client=client,
                store=store,
                services=services,
                hints=hints,
                mine=shops[0],
                theirs=shops[1],
            )


def client_of(app: Litestar) -> httpx.AsyncClient:
    """A client in the app's own event loop."""
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url=PUBLIC)


def in_days(days: float) -> str:
    """A moment from now, as clients write it."""
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
