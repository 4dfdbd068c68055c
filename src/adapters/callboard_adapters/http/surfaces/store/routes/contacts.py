"""``/contacts``: people, one by one and by the file."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Router, delete, get, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from callboard.ids import ContactId
from callboard.tenants.model import Principal
from callboard_adapters.http.container import Services
from callboard_adapters.http.surfaces.store.uploads import ImportOperation, rows_of
from callboard_adapters.http.surfaces.store.wire import contacts as wire
from callboard_adapters.http.surfaces.store.wire.common import (
    Limit,
    Ok,
    PageNumber,
    PageSize,
    Removed,
    page_request,
    pagination,
    read_id,
)

Caller = NamedDependency[Principal]
Core = NamedDependency[Services]
Search = Annotated[str | None, QueryParameter(name="search", max_length=200, description="Phone, email or name.")]
Query = Annotated[str | None, QueryParameter(name="q", max_length=200, description="The same as search.")]
DryRun = Annotated[bool | None, QueryParameter(name="dryRun", description="Report without writing.")]

UPLOAD_LIMIT = 50 * 1024 * 1024


@get("/")
async def list_contacts(
    caller: Caller,
    services: Core,
    page: PageNumber = None,
    limit: Limit = None,
    page_size: PageSize = None,
    search: Search = None,
    q: Query = None,
) -> Ok[wire.ContactsOut]:
    """A page of contacts, newest first."""
    request = page_request(page, limit, page_size)
    found = await services.reads.contacts_page(caller.tenant_id, request, search=search or q)
    contacts = [wire.contact_out(contact) for contact in found.items]
    return Ok(
        data=wire.ContactsOut(
            contacts=contacts,
            items=contacts,
            total=found.total,
            page=request.number,
            page_size=request.size,
            pagination=pagination(found),
        )
    )


@post("/", opt={"idempotent": True})
async def create_contact(caller: Caller, services: Core, data: JSONBody[wire.ContactIn]) -> Ok[wire.ContactOut]:
    """A new contact; its phone is required."""
    tenant = await services.tenants.get(caller.tenant_id)
    contact = await services.contacts.create(tenant.id, wire.read_contact(data, tenant.region))
    return Ok(data=wire.contact_out(contact))


@get("/{contact_id:str}")
async def get_contact(caller: Caller, services: Core, contact_id: FromPath[str]) -> Ok[wire.ContactOut]:
    """One contact."""
    contact = await services.contacts.get(caller.tenant_id, ContactId(read_id(contact_id)))
    return Ok(data=wire.contact_out(contact))


@route("/{contact_id:str}", http_method=["PUT", "PATCH"])
async def update_contact(
    caller: Caller, services: Core, contact_id: FromPath[str], data: JSONBody[wire.ContactIn]
) -> Ok[wire.ContactOut]:
    """Change what the body names."""
    tenant = await services.tenants.get(caller.tenant_id)
    changes = wire.read_contact(data, tenant.region)
    contact = await services.contacts.update(tenant.id, ContactId(read_id(contact_id)), changes)
    return Ok(data=wire.contact_out(contact))


@delete("/{contact_id:str}", status_code=200)
async def delete_contact(caller: Caller, services: Core, contact_id: FromPath[str]) -> Ok[Removed]:
    """Forget a contact; what was sent to it stays counted."""
    await services.contacts.delete(caller.tenant_id, ContactId(read_id(contact_id)))
    return Ok(data=Removed(id=contact_id))


@post(
    "/import",
    status_code=200,
    opt={"idempotent": True},
    request_max_body_size=UPLOAD_LIMIT,
    operation_class=ImportOperation,
)
async def import_contacts(
    request: Request[Any, Any, Any], caller: Caller, services: Core, dry_run: DryRun = None
) -> Ok[wire.ImportOut]:
    """Import a CSV or XLSX file (multipart field ``file``) or JSON ``{contacts:[…]}``; every row has one outcome."""
    async with rows_of(request) as upload:
        report = await services.imports.run(
            caller.tenant_id, upload.rows, headers=upload.headers, dry_run=bool(dry_run)
        )
    return Ok(data=wire.import_out(report))


router = Router(
    "/contacts",
    route_handlers=[list_contacts, create_contact, get_contact, update_contact, delete_contact, import_contacts],
)
