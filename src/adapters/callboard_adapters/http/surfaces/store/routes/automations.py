"""``/automations`` and ``/templates``."""

from __future__ import annotations

from litestar import Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UnsetType

from callboard.automations.model import Automation
from callboard.ids import AutomationId
from callboard.tenants.model import Principal
from callboard_adapters.http.container import Services
from callboard_adapters.http.surfaces.store.wire import automations as wire
from callboard_adapters.http.surfaces.store.wire.common import Ok, Removed, read_id

Caller = NamedDependency[Principal]
Core = NamedDependency[Services]


@get("/automations")
async def list_automations(caller: Caller, services: Core) -> Ok[wire.AutomationsOut]:
    """All automations, oldest first."""
    found = [wire.automation_out(a) for a in await services.automations.list(caller.tenant_id)]
    return Ok(data=wire.AutomationsOut(automations=found, items=found, total=len(found)))


@post("/automations", opt={"idempotent": True})
async def create_automation(
    caller: Caller, services: Core, data: JSONBody[wire.AutomationIn]
) -> Ok[wire.AutomationOut]:
    """A new automation; on unless the body says otherwise."""
    active = wire.wanted_state(data)
    automation = await services.automations.create(
        caller.tenant_id,
        name=data.name,
        trigger=wire.wanted_trigger(data),
        message=data.message,
        active=True if active is None else active,
    )
    return Ok(data=wire.automation_out(automation))


@get("/automations/{automation_id:str}")
async def get_automation(caller: Caller, services: Core, automation_id: FromPath[str]) -> Ok[wire.AutomationOut]:
    """One automation."""
    automation = await services.automations.get(caller.tenant_id, AutomationId(read_id(automation_id)))
    return Ok(data=wire.automation_out(automation))


@put("/automations/{automation_id:str}")
async def update_automation(
    caller: Caller, services: Core, automation_id: FromPath[str], data: JSONBody[wire.AutomationPatch]
) -> Ok[wire.AutomationOut]:
    """Toggle it, change its text, name or trigger."""
    return Ok(data=wire.automation_out(await _edit(caller, services, automation_id, data)))


@put("/automations/{automation_id:str}/status")
async def toggle_automation(
    caller: Caller, services: Core, automation_id: FromPath[str], data: JSONBody[wire.AutomationStatusIn]
) -> Ok[wire.AutomationOut]:
    """On or off, nothing else."""
    patch = wire.AutomationPatch(active=data.active, is_active=data.is_active, status=data.status)
    wire.require_state(data)
    return Ok(data=wire.automation_out(await _edit(caller, services, automation_id, patch)))


@delete("/automations/{automation_id:str}", status_code=200)
async def delete_automation(caller: Caller, services: Core, automation_id: FromPath[str]) -> Ok[Removed]:
    """Remove it."""
    await services.automations.delete(caller.tenant_id, AutomationId(read_id(automation_id)))
    return Ok(data=Removed(id=automation_id))


@get("/templates")
async def list_templates(caller: Caller, services: Core) -> Ok[wire.TemplatesOut]:
    """Texts to copy from."""
    found = [wire.template_out(template) for template in await services.automations.templates(caller.tenant_id)]
    return Ok(data=wire.TemplatesOut(templates=found, items=found, total=len(found)))


async def _edit(caller: Principal, services: Services, automation_id: str, patch: wire.AutomationPatch) -> Automation:
    return await services.automations.update(
        caller.tenant_id,
        AutomationId(read_id(automation_id)),
        name=None if isinstance(patch.name, UnsetType) else patch.name,
        trigger=None if isinstance(patch.trigger_type, UnsetType) else patch.trigger_type,
        message=None if isinstance(patch.message, UnsetType) else patch.message,
        active=wire.wanted_state(patch),
    )


router = Router(
    "/",
    route_handlers=[
        list_automations,
        create_automation,
        get_automation,
        update_automation,
        toggle_automation,
        delete_automation,
        list_templates,
    ],
)
