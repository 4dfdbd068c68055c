"""``/dashboard``, ``/settings`` and ``/events``."""

from __future__ import annotations

from typing import Any

from litestar import Router, get, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from callboard.campaigns.model import CampaignStatus
from callboard.clock import local_date
from callboard.errors import InvalidInput, NotFound
from callboard.ids import ContactId
from callboard.tenants.model import Principal
from callboard_adapters.http.container import Services
from callboard_adapters.http.surfaces.store.reading import dashboard_out
from callboard_adapters.http.surfaces.store.wire import automations as wire
from callboard_adapters.http.surfaces.store.wire.common import Ok, read_id, read_moment
from callboard_adapters.http.surfaces.store.wire.dashboard import DashboardOut

Caller = NamedDependency[Principal]
Core = NamedDependency[Services]

_ACTIVE = (CampaignStatus.SCHEDULED, CampaignStatus.SENDING, CampaignStatus.PAUSED)


@get("/dashboard")
async def dashboard(caller: Caller, services: Core) -> Ok[DashboardOut]:
    """The figures of the first page; days are the tenant's."""
    tenant = await services.tenants.get(caller.tenant_id)
    today = local_date(services.clock.now(), tenant.timezone)
    figures = await services.reads.dashboard(tenant.id, today=today, timezone=tenant.timezone)
    campaigns = (await services.reads.stats_summary(tenant.id)).campaigns
    return Ok(data=dashboard_out(figures, sum(campaigns.get(status, 0) for status in _ACTIVE)))


@get("/settings")
async def get_settings(caller: Caller, services: Core) -> Ok[dict[str, str | int | bool]]:
    """A flat object, every value printable; no secret is in it."""
    return Ok(data=await services.settings.get(caller.tenant_id))


@put("/settings")
async def put_settings(
    caller: Caller, services: Core, data: JSONBody[dict[str, Any]]
) -> Ok[dict[str, str | int | bool]]:
    """A partial update; texts are coerced, unknown and read-only names ignored."""
    changed = await services.settings.put(caller.tenant_id, data)
    services.tenants.forget(caller.tenant_id)
    return Ok(data=changed)


@post("/events", status_code=202, opt={"idempotent": True})
async def record_event(caller: Caller, services: Core, data: JSONBody[wire.EventIn]) -> Ok[wire.EventOut]:
    """Something happened in the shop; automations take it from here. The same ``id`` again has no effect."""
    whom = read_whom(data)
    identity = data.id or services.ids.new().hex
    new = await services.events.record(
        caller.tenant_id,
        type=data.type,
        contact=whom.contact,
        phone=whom.phone,
        email=whom.email,
        properties=data.properties,
        occurred_at=None if data.occurred_at is None else read_moment(data.occurred_at, field="occurredAt"),
        external_id=identity,
    )
    return Ok(data=wire.EventOut(id=identity, type=data.type, accepted=True, duplicate=not new))


def read_whom(body: wire.EventIn) -> wire.Whom:
    """Whom an event is about, in any of the contract's forms; nobody is refused."""
    given = body.contact
    contact = given if isinstance(given, wire.EventContact) else wire.EventContact()
    text = given if isinstance(given, str) else None
    phone = body.phone or contact.phone or contact.phone_e164
    email = body.email or contact.email
    identity = contact.id
    if text and "@" in text:
        email = email or text
    elif text and text.count("-") == 4:
        identity = text
    elif text:
        phone = phone or text
    if not (identity or phone or email):
        raise InvalidInput("Give contact, phone or email", field="contact")
    try:
        contact_id = None if identity is None else ContactId(read_id(identity))
    except NotFound:
        raise NotFound("Contact not found") from None
    return wire.Whom(contact=contact_id, phone=phone, email=email)


router = Router("/", route_handlers=[dashboard, get_settings, put_settings, record_event])
