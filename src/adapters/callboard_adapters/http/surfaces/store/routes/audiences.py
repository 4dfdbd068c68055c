"""``/audiences``: segments, their counts and their members."""

from __future__ import annotations

from litestar import Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UnsetType

from callboard.ids import ContactId, SegmentId
from callboard.segments.model import Criteria, Segment
from callboard.segments.rules import parse_criteria
from callboard.tenants.model import Principal
from callboard_adapters.http.container import Services
from callboard_adapters.http.surfaces.store.wire import audiences as wire
from callboard_adapters.http.surfaces.store.wire.common import (
    Limit,
    Ok,
    PageNumber,
    PageSize,
    Removed,
    page_request,
    pagination,
    read_id,
    read_ids,
)
from callboard_adapters.http.surfaces.store.wire.contacts import contact_out

Caller = NamedDependency[Principal]
Core = NamedDependency[Services]


@get("/segments")
async def list_segments(caller: Caller, services: Core) -> Ok[wire.SegmentsOut]:
    """All segments with their counts; the system ones are made on the first call."""
    counted = await services.segments.list_counted(caller.tenant_id)
    segments = [wire.segment_out(segment, count) for segment, count in counted]
    return Ok(data=wire.SegmentsOut(segments=segments, items=segments, total=len(segments)))


@post("/segments", opt={"idempotent": True})
async def create_segment(caller: Caller, services: Core, data: JSONBody[wire.SegmentIn]) -> Ok[wire.SegmentOut]:
    """A custom segment by rule or as a list."""
    ids = None if data.contact_ids is None else read_ids(data.contact_ids, field="contactIds")
    segment = await services.segments.create(
        caller.tenant_id,
        data.name,
        criteria=await _criteria(caller, services, data.criteria),
        contacts=None if ids is None else [ContactId(contact) for contact in ids],
    )
    return Ok(data=await _counted(caller, services, segment))


@get("/segments/{segment_id:str}")
async def get_segment(caller: Caller, services: Core, segment_id: FromPath[str]) -> Ok[wire.SegmentOut]:
    """One segment."""
    segment = await services.segments.get(caller.tenant_id, SegmentId(read_id(segment_id)))
    return Ok(data=await _counted(caller, services, segment))


@put("/segments/{segment_id:str}")
async def update_segment(
    caller: Caller, services: Core, segment_id: FromPath[str], data: JSONBody[wire.SegmentPatch]
) -> Ok[wire.SegmentOut]:
    """Rename a custom segment, change its rule, switch it on or off."""
    segment = await services.segments.update(
        caller.tenant_id,
        SegmentId(read_id(segment_id)),
        name=None if isinstance(data.name, UnsetType) else data.name,
        criteria=await _criteria(caller, services, None if isinstance(data.criteria, UnsetType) else data.criteria),
        active=None if isinstance(data.is_active, UnsetType) else data.is_active,
    )
    return Ok(data=await _counted(caller, services, segment))


@delete("/segments/{segment_id:str}", status_code=200)
async def delete_segment(caller: Caller, services: Core, segment_id: FromPath[str]) -> Ok[Removed]:
    """Remove a custom segment and its list."""
    await services.segments.delete(caller.tenant_id, SegmentId(read_id(segment_id)))
    return Ok(data=Removed(id=segment_id))


@get("/segments/{segment_id:str}/preview")
async def preview_segment(caller: Caller, services: Core, segment_id: FromPath[str]) -> Ok[wire.SegmentPreviewOut]:
    """How many messages a campaign to it would send now."""
    count = await services.segments.preview(caller.tenant_id, SegmentId(read_id(segment_id)))
    return Ok(data=wire.SegmentPreviewOut(segment_id=segment_id, estimated_count=count))


@get("/segments/{segment_id:str}/members")
async def list_members(
    caller: Caller,
    services: Core,
    segment_id: FromPath[str],
    page: PageNumber = None,
    page_size: PageSize = None,
    limit: Limit = None,
) -> Ok[wire.MembersOut]:
    """Contacts that belong to it now."""
    request = page_request(page, page_size, limit)
    found = await services.segments.members(caller.tenant_id, SegmentId(read_id(segment_id)), request)
    contacts = [contact_out(contact) for contact in found.items]
    return Ok(
        data=wire.MembersOut(
            contacts=contacts,
            items=contacts,
            total=found.total,
            page=request.number,
            page_size=request.size,
            pagination=pagination(found),
        )
    )


@post("/segments/{segment_id:str}/members", status_code=200, opt={"idempotent": True})
async def add_members(
    caller: Caller, services: Core, segment_id: FromPath[str], data: JSONBody[wire.MembersIn]
) -> Ok[wire.MembersChanged]:
    """Put contacts on a list."""
    segment = SegmentId(read_id(segment_id))
    ids = [ContactId(contact) for contact in read_ids(data.contact_ids, field="contactIds")]
    added = await services.segments.add_members(caller.tenant_id, segment, ids)
    return Ok(data=wire.MembersChanged(segment_id=segment_id, added=added))


@delete("/segments/{segment_id:str}/members", status_code=200)
async def remove_members(
    caller: Caller, services: Core, segment_id: FromPath[str], data: JSONBody[wire.MembersIn]
) -> Ok[wire.MembersChanged]:
    """Take contacts off a list."""
    segment = SegmentId(read_id(segment_id))
    ids = [ContactId(contact) for contact in read_ids(data.contact_ids, field="contactIds")]
    removed = await services.segments.remove_members(caller.tenant_id, segment, ids)
    return Ok(data=wire.MembersChanged(segment_id=segment_id, removed=removed))


async def _criteria(caller: Principal, services: Services, given: object) -> Criteria | None:
    """A rule as given; days without a time are the tenant's days."""
    if given is None:
        return None
    return parse_criteria(given, zone=(await services.tenants.get(caller.tenant_id)).timezone)


async def _counted(caller: Principal, services: Services, segment: Segment) -> wire.SegmentOut:
    return wire.segment_out(segment, await services.segments.preview(caller.tenant_id, segment.id))


router = Router(
    "/audiences",
    route_handlers=[
        list_segments,
        create_segment,
        get_segment,
        update_segment,
        delete_segment,
        preview_segment,
        list_members,
        add_members,
        remove_members,
    ],
)
