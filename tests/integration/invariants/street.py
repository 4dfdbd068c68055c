"""Two shops on a real database, the app in front of them, a worker behind, and the provider twin as the judge."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import httpx
from litestar import Litestar
from sqlalchemy import text
from tests.unit.http.probe import started

from callboard.contacts.model import Consent, Contact
from callboard.contacts.service import ContactChanges
from callboard.tenants.model import Surface, Tenant
from callboard.values import Phone
from callboard_adapters.http.app import create_app
from callboard_adapters.http.container import HttpConfig
from callboard_adapters.http.health import Probes
from callboard_adapters.http.metrics import HttpMetrics
from callboard_adapters.http.wiring import services_over
from callboard_adapters.jobs.brokers import memory_broker
from callboard_adapters.jobs.duties import ServiceDuties
from callboard_app.bootstrap import Container, bootstrap, prepare
from callboard_app.settings import load

PUBLIC = "http://shop.test"
SECRET = "a key of the tests that is long enough"
HOOK = "secret of the sms webhooks"


@attrs.frozen(kw_only=True)
class House:
    """One tenant and its key."""

    tenant: Tenant
    key: str


@attrs.frozen(kw_only=True)
class Street:
    """What people outside see (``client``, ``twin``) and the parts inside (``container``)."""

    container: Container
    client: httpx.AsyncClient
    twin: httpx.AsyncClient
    mine: House
    theirs: House

    # --- as a browser --------------------------------------------------------------------------------------------

    async def call(self, method: str, path: str, *, house: House | None = None, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {(house or self.mine).key}", **options.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **options)

    async def data(self, method: str, path: str, *, status: int = 200, **options: Any) -> Any:
        answer = await self.call(method, path, **options)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()["data"]

    async def campaign(self, name: str, *, house: House | None = None, **values: Any) -> str:
        body = {"name": name, "message": "Hi {{firstName|there}}", "audience": "all", **values}
        return str((await self.data("POST", "/campaigns", status=201, house=house, json=body))["id"])

    async def enqueue(self, campaign: str, *, house: House | None = None) -> dict[str, Any]:
        return dict(await self.data("POST", f"/campaigns/{campaign}/enqueue", house=house))

    async def credits(self, *, house: House | None = None) -> int:
        return int((await self.data("GET", "/dashboard", house=house))["credits"])

    # --- as the people who run it --------------------------------------------------------------------------------

    async def contact(self, phone: str, *, house: House | None = None, **values: Any) -> Contact:
        changes = ContactChanges(phone=Phone(phone), **{"consent": Consent.OPTED_IN, **values})
        return await self.container.contacts.create((house or self.mine).tenant.id, changes)

    async def contacts(self, n: int, *, first: int = 9_700_000_000, house: House | None = None) -> list[str]:
        phones = [f"+91{first + i}" for i in range(n)]
        for i, phone in enumerate(phones):
            await self.contact(phone, house=house, first_name=f"Person{i}")
        return phones

    @property
    def worker(self) -> ServiceDuties:
        return self.container.duties("tests")

    async def work(self) -> None:
        """A worker until nothing is left to do."""
        worker = self.worker
        busy = True
        while busy:
            busy = False
            while await worker.dispatch(lambda: False):
                busy = True
            for step in (worker.relay, worker.deliver_due, worker.tick):
                busy = bool(await step()) or busy
        await worker.sweep()

    async def sql(self, statement: str, **values: Any) -> list[Any]:
        """A statement across tenants, as the database's owner."""
        async with self.container.store.engine.begin() as connection:
            if not self.container.store.sqlite:
                await connection.execute(text("SELECT set_config('app.scope', 'system', true)"))
            done = await connection.execute(text(statement), values)
            return list(done.all()) if done.returns_rows else []

    # --- as the provider -----------------------------------------------------------------------------------------

    async def received(self) -> list[dict[str, Any]]:
        """What the twin accepted, in order."""
        answer = await self.twin.get("/_control/received", params={"provider": "sms"})
        return list(answer.json()["received"])

    async def texts(self) -> list[str]:
        return [entry["body"]["sms"]["text"] for entry in await self.received()]

    async def fault(self, **fault: Any) -> None:
        answer = await self.twin.post("/_control/faults", json={"provider": "sms", **fault})
        assert answer.status_code < 300, answer.text

    async def hook(self, path: str, payload: Any, *, secret: str = HOOK) -> httpx.Response:
        body = json.dumps(payload).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return await self.client.post(path, content=body, headers={"X-Webhook-Signature": signature})

    # --- the books -----------------------------------------------------------------------------------------------

    async def check_books(self) -> None:
        """Balance = sum of entries; a run's entries = minus what its rows hold; rollup = rows."""
        balances = """
            SELECT a.tenant_id, a.balance FROM credit_accounts a
            WHERE a.balance <> (SELECT sum(amount) FROM credit_entries e WHERE e.tenant_id = a.tenant_id)"""
        paid = """
            SELECT r.id FROM runs r WHERE (SELECT coalesce(sum(credits), 0) FROM messages m WHERE m.run_id = r.id)
                <> -(SELECT coalesce(sum(amount), 0) FROM credit_entries e WHERE e.run_id = r.id)"""
        counts = """
            SELECT run_id, state FROM message_counts c GROUP BY run_id, state
            HAVING sum(n) <> (SELECT count(*) FROM messages m WHERE m.run_id = c.run_id AND m.state = c.state)"""
        for name, query in {"balances": balances, "paid": paid, "counts": counts}.items():
            assert await self.sql(query) == [], name


def app_over(container: Container) -> Litestar:
    """The app as ``callboard serve`` builds it, without a worker beside it."""
    metrics = HttpMetrics()
    services = services_over(
        container.store,
        clock=container.clock,
        ids=container.ids,
        campaigns=container.campaigns,
        unsubscribe_keys=(container.unsubscribe_key,),
        metrics=metrics,
        probes=Probes(),
    )
    config = HttpConfig(token_secret=container.token_secret, surfaces=[Surface.STORE.value], rate_limit="0")
    return create_app(services, config, metrics=metrics)


@asynccontextmanager
async def street(url: str, twin: str, **environ: str) -> AsyncIterator[Street]:
    """Everything over ``url`` (whose schema is there) and the twin at ``twin``."""
    settings = load(
        {
            "CALLBOARD_DATABASE_URL": url,
            "CALLBOARD_PROVIDERS": "sandbox",
            "CALLBOARD_SANDBOX_URL": twin,
            "CALLBOARD_PUBLIC_URL": PUBLIC,
            "CALLBOARD_SECRET_KEY": SECRET,
            "CALLBOARD_RATE_LIMIT": "0",
            **environ,
        }
    )
    broker = memory_broker() if settings.embedded else None
    async with bootstrap(settings, broker=broker) as container:
        await prepare(container)
        houses = []
        for slug in ("mine", "theirs"):
            tenant = await container.tenants.create(slug=slug, name=f"Shop {slug}")
            await container.equip(tenant)
            key = await container.keys.create(tenant.id, surfaces=[Surface.STORE], label="tests")
            await container.credits.grant(tenant.id, 1_000)
            houses.append(House(tenant=tenant, key=key.text))
            await container.tenant_settings.put_secret(tenant.id, "CALLBOARD_SMS_WEBHOOK_SECRET", f"{HOOK} {slug}")
        await container.tenant_settings.put_secret(houses[0].tenant.id, "CALLBOARD_SMS_WEBHOOK_SECRET", HOOK)
        app = app_over(container)
        async with (
            started(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=PUBLIC) as client,  # type: ignore[arg-type]
            httpx.AsyncClient(base_url=twin, trust_env=False) as control,
        ):
            await control.delete("/_control/faults")
            await control.post("/_control/reset")
            yield Street(container=container, client=client, twin=control, mine=houses[0], theirs=houses[1])
