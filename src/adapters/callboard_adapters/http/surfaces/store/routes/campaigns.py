"""``/campaigns``: write, schedule, send, stop, and look."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import Router, delete, get, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from callboard.campaigns.model import CampaignStatus
from callboard.campaigns.rules import plan
from callboard.errors import NotFound
from callboard.ids import CampaignId, TenantId
from callboard.tenants.model import Principal
from callboard_adapters.http.container import Services
from callboard_adapters.http.surfaces.store import reading
from callboard_adapters.http.surfaces.store.wire import campaigns as wire
from callboard_adapters.http.surfaces.store.wire.common import (
    Limit,
    Listed,
    Ok,
    PageNumber,
    PageSize,
    Removed,
    page_request,
    pagination,
    read_id,
)
from callboard_adapters.sql.queries.model import CampaignRow, CampaignSort

Caller = NamedDependency[Principal]
Core = NamedDependency[Services]
Status = Annotated[CampaignStatus | None, QueryParameter(name="status")]
SortBy = Annotated[
    Literal["createdAt", "updatedAt", "name", "scheduleAt", "scheduledAt"] | None, QueryParameter(name="sortBy")
]
SortOrder = Annotated[Literal["asc", "desc"] | None, QueryParameter(name="sortOrder")]

SENDS = {"idempotent": True}
_SORTS: dict[str | None, CampaignSort] = {
    None: "created_at",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "name": "name",
    "scheduleAt": "schedule_at",
    "scheduledAt": "schedule_at",
}


@get("/")
async def list_campaigns(
    caller: Caller,
    services: Core,
    page: PageNumber = None,
    page_size: PageSize = None,
    limit: Limit = None,
    status: Status = None,
    sort_by: SortBy = None,
    sort_order: SortOrder = None,
) -> Listed[wire.CampaignOut]:
    """A page of campaigns with their counts, newest first unless asked otherwise."""
    found = await services.reads.campaigns_page(
        caller.tenant_id,
        page_request(page, page_size, limit),
        status=status,
        sort_by=_SORTS[sort_by],
        sort_order=sort_order or "desc",
    )
    return Listed(data=[reading.campaign_out(row) for row in found.items], pagination=pagination(found))


@post("/", opt=SENDS)
async def create_campaign(caller: Caller, services: Core, data: JSONBody[wire.CampaignIn]) -> Ok[wire.CampaignOut]:
    """A draft, or scheduled at once when it has a time."""
    command = wire.create_command(data, services.clock.now())
    campaign = await services.campaigns.create(caller.tenant_id, command)
    return await _shown(services, caller.tenant_id, campaign.id)


@get("/stats/summary")
async def stats_summary(caller: Caller, services: Core) -> Ok[wire.SummaryOut]:
    """All campaigns together."""
    return Ok(data=reading.summary_out(await services.reads.stats_summary(caller.tenant_id)))


@get("/{campaign_id:str}")
async def get_campaign(caller: Caller, services: Core, campaign_id: FromPath[str]) -> Ok[wire.CampaignOut]:
    """One campaign with its counts."""
    return await _shown(services, caller.tenant_id, _id(campaign_id))


@route("/{campaign_id:str}", http_method=["PUT", "PATCH"])
async def update_campaign(
    caller: Caller, services: Core, campaign_id: FromPath[str], data: JSONBody[wire.CampaignPatch]
) -> Ok[wire.CampaignOut]:
    """Change what the body names, while it has not begun."""
    command = wire.change_command(data, services.clock.now())
    campaign = await services.campaigns.update(caller.tenant_id, _id(campaign_id), command)
    return await _shown(services, caller.tenant_id, campaign.id)


@delete("/{campaign_id:str}", status_code=200)
async def delete_campaign(caller: Caller, services: Core, campaign_id: FromPath[str]) -> Ok[Removed]:
    """Remove one that was not sent."""
    await services.campaigns.delete(caller.tenant_id, _id(campaign_id))
    return Ok(data=Removed(id=campaign_id))


@post("/{campaign_id:str}/enqueue", status_code=200, opt=SENDS)
async def enqueue(caller: Caller, services: Core, campaign_id: FromPath[str]) -> Ok[wire.EnqueuedOut]:
    """Send it now: one transaction, and the answer is the truth."""
    enqueued = await services.campaigns.enqueue(caller.tenant_id, _id(campaign_id))
    return Ok(data=wire.EnqueuedOut(queued_recipients=enqueued.recipients, credits_debited=enqueued.credits_debited))


@route("/{campaign_id:str}/schedule", http_method=["PUT", "POST"], status_code=200, opt=SENDS)
async def schedule(
    caller: Caller, services: Core, campaign_id: FromPath[str], data: JSONBody[wire.ScheduleIn]
) -> Ok[wire.CampaignOut]:
    """Set when it starts."""
    planned = plan(data.schedule_type, data.schedule_at, data.recurring_days, now=services.clock.now())
    campaign = await services.campaigns.schedule(caller.tenant_id, _id(campaign_id), planned)
    return await _shown(services, caller.tenant_id, campaign.id)


@post("/{campaign_id:str}/pause", status_code=200, opt=SENDS)
async def pause(caller: Caller, services: Core, campaign_id: FromPath[str]) -> Ok[wire.CampaignOut]:
    """Hand over nothing new."""
    campaign = await services.campaigns.pause(caller.tenant_id, _id(campaign_id))
    return await _shown(services, caller.tenant_id, campaign.id)


@post("/{campaign_id:str}/resume", status_code=200, opt=SENDS)
async def resume(caller: Caller, services: Core, campaign_id: FromPath[str]) -> Ok[wire.CampaignOut]:
    """Go on where it was paused."""
    campaign = await services.campaigns.resume(caller.tenant_id, _id(campaign_id))
    return await _shown(services, caller.tenant_id, campaign.id)


@post("/{campaign_id:str}/cancel", status_code=200, opt=SENDS)
async def cancel(caller: Caller, services: Core, campaign_id: FromPath[str]) -> Ok[wire.CancelledOut]:
    """Stop everything not yet handed to the provider; exactly that is refunded."""
    cancelled = await services.campaigns.cancel(caller.tenant_id, _id(campaign_id))
    return Ok(
        data=wire.CancelledOut(
            id=campaign_id,
            status=cancelled.campaign.status,
            cancelled_recipients=cancelled.messages,
            credits_refunded=cancelled.messages,
        )
    )


@post("/{campaign_id:str}/retry-failed", status_code=200, opt=SENDS)
async def retry_failed(caller: Caller, services: Core, campaign_id: FromPath[str]) -> Ok[wire.EnqueuedOut]:
    """A new round for the failed recipients of the last one."""
    enqueued = await services.campaigns.retry_failed(caller.tenant_id, _id(campaign_id))
    return Ok(data=wire.EnqueuedOut(queued_recipients=enqueued.recipients, credits_debited=enqueued.credits_debited))


@get("/{campaign_id:str}/metrics")
async def metrics(caller: Caller, services: Core, campaign_id: FromPath[str]) -> Ok[wire.MetricsOut]:
    """What became of everybody, over all rounds."""
    return Ok(data=reading.metrics_out(await _row(services, caller.tenant_id, _id(campaign_id))))


@get("/{campaign_id:str}/status")
async def campaign_status(caller: Caller, services: Core, campaign_id: FromPath[str]) -> Ok[wire.StatusOut]:
    """Where it is."""
    row = await _row(services, caller.tenant_id, _id(campaign_id))
    progress = await services.reads.run_progress(caller.tenant_id, row.campaign.id)
    held = await services.campaigns.held_by(caller.tenant_id, row.campaign.id)
    return Ok(data=reading.status_out(row, progress, held))


@get("/{campaign_id:str}/progress")
async def campaign_progress(caller: Caller, services: Core, campaign_id: FromPath[str]) -> Ok[wire.ProgressOut]:
    """How far the newest round is."""
    row = await _row(services, caller.tenant_id, _id(campaign_id))
    progress = await services.reads.run_progress(caller.tenant_id, row.campaign.id)
    return Ok(data=reading.progress_out(row, progress))


@get("/{campaign_id:str}/preview")
async def preview(caller: Caller, services: Core, campaign_id: FromPath[str]) -> Ok[wire.PreviewOut]:
    """Whom an enqueue would reach now, what it would cost, how the message reads."""
    return Ok(
        data=reading.preview_out(campaign_id, await services.campaigns.preview(caller.tenant_id, _id(campaign_id)))
    )


@get("/{campaign_id:str}/failed-recipients")
async def failed_recipients(
    caller: Caller,
    services: Core,
    campaign_id: FromPath[str],
    page: PageNumber = None,
    page_size: PageSize = None,
    limit: Limit = None,
) -> Listed[wire.FailedRecipientOut]:
    """Failed messages with their reasons."""
    campaign = (await services.campaigns.get(caller.tenant_id, _id(campaign_id))).id
    request = page_request(page, page_size, limit)
    found = await services.reads.failed_recipients(caller.tenant_id, campaign, request)
    return Listed(data=[reading.failed_out(row) for row in found.items], pagination=pagination(found))


@get("/{campaign_id:str}/runs")
async def runs(caller: Caller, services: Core, campaign_id: FromPath[str]) -> Ok[wire.RunsOut]:
    """Its rounds, first one first."""
    found = await services.campaigns.runs(caller.tenant_id, _id(campaign_id))
    tallies = await services.tallies(caller.tenant_id, [run.id for run in found])
    rounds = [reading.run_out(run, tallies.get(run.id, reading.EMPTY)) for run in found]
    return Ok(data=wire.RunsOut(runs=rounds, total=len(rounds)))


def _id(text: str) -> CampaignId:
    return CampaignId(read_id(text))


async def _row(services: Services, tenant: TenantId, campaign: CampaignId) -> CampaignRow:
    row = await services.reads.campaign_row(tenant, campaign)
    if row is None:
        raise NotFound("Campaign not found")
    return row


async def _shown(services: Services, tenant: TenantId, campaign: CampaignId) -> Ok[wire.CampaignOut]:
    """The full resource after a write."""
    return Ok(data=reading.campaign_out(await _row(services, tenant, campaign)))


router = Router(
    "/campaigns",
    route_handlers=[
        list_campaigns,
        create_campaign,
        stats_summary,
        get_campaign,
        update_campaign,
        delete_campaign,
        enqueue,
        schedule,
        pause,
        resume,
        cancel,
        retry_failed,
        metrics,
        campaign_status,
        campaign_progress,
        preview,
        failed_recipients,
        runs,
    ],
)
