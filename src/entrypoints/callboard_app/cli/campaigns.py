"""Campaigns from the shell: send, look, stop."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from callboard.campaigns.messages import CreateCampaign
from callboard.campaigns.model import Audience, Campaign, CampaignStatus, Everybody, InSegment, Schedule, ScheduleType
from callboard.ids import CampaignId
from callboard.messages.model import Priority, State, Tally, WhatsAppTemplate
from callboard_app.cli.common import command, emit, json_option, opened, progress, refuse, table, tenant_option

if TYPE_CHECKING:
    from callboard.campaigns.service import Preview
    from callboard.segments.model import Segment
    from callboard.tenants.model import Tenant
    from callboard_app.bootstrap import Container

_ENDED = frozenset({CampaignStatus.SENT, CampaignStatus.FAILED, CampaignStatus.CANCELLED, CampaignStatus.PAUSED})
_name = click.argument("name", metavar="NAME|ID")


@click.group()
def campaign() -> None:
    """Campaigns of a tenant."""


@campaign.command("send")
@click.option("--segment", required=True, metavar="KEY|ID|all", help="Who: a segment's key, name or id, or all.")
@click.option("--message", required=True, help="Text; {{firstName|there}}, {{shopName}}, {{discount}}, links.")
@click.option("--name", required=True, help="Unique name of the campaign.")
@click.option("--discount", default=None, help="What {{discount}} stands for.")
@click.option("--template", default=None, metavar="NAME", help="WhatsApp: the approved template that carries it.")
@click.option("--language", default="en", show_default=True, help="WhatsApp: the template's language.")
@click.option("--parameter", "parameters", multiple=True, help="WhatsApp: what fills {{1}}, {{2}}, … [the message].")
@click.option("--priority", default="normal", show_default=True, type=click.Choice([p.value for p in Priority]))
@click.option(
    "--at", default=None, metavar="TIME", help="Start later: ISO time with offset, such as 2030-01-31T09:00+05:30."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say how many would be written to.")
@click.option("--watch", "watching", is_flag=True, help="Stay until everything is handed over.")
@tenant_option
@json_option
@command
async def send(
    segment: str,
    message: str,
    name: str,
    discount: str | None,
    template: str | None,
    language: str,
    parameters: tuple[str, ...],
    priority: str,
    at: str | None,
    yes: bool,
    dry_run: bool,
    watching: bool,
    slug: str,
    as_json: bool,
) -> None:
    """Send a message to a segment. The count shown is the count that is sent and paid."""
    schedule = Schedule() if at is None else Schedule(type=ScheduleType.SCHEDULED, at=_moment(at))
    async with opened(slug) as (container, tenant):
        wanted = CreateCampaign(
            name=name,
            message=message,
            audience=await _audience(container, tenant, segment),
            include_discount=discount is not None,
            discount_value=discount,
            schedule=schedule,
            priority=Priority(priority),
            template=None
            if template is None
            else WhatsAppTemplate(name=template, language=language, body=parameters or (message,)),
        )
        preview = await container.campaigns.preview_draft(tenant.id, wanted)
        count, balance = preview.recipients, preview.balance
        if not as_json:
            _show(preview)
        if dry_run:
            if as_json:
                emit({"recipients": count, "credits": balance, "enough": preview.affordable, "text": preview.text})
            return
        if not yes and not as_json:
            if not sys.stdin.isatty():
                refuse(f"{count:,} people would get this message", advice="Add --yes to send it.", code="NOT_CONFIRMED")
            click.confirm(f"Send to {count:,} people for {count:,} of {balance:,} credits?", abort=True, err=True)
        made = await container.campaigns.create(tenant.id, wanted)
        if at is not None:
            _announce({"id": str(made.id), "status": made.status.value, "recipients": count, "at": at}, as_json=as_json)
            return
        queued = await container.campaigns.enqueue(tenant.id, made.id)
        answer: dict[str, object] = {
            "id": str(made.id),
            "name": made.name,
            "status": "queued",
            "run": queued.run_id.hex,
            "queuedRecipients": queued.recipients,
            "creditsDebited": queued.credits_debited,
        }
        if not watching:
            _announce(answer, as_json=as_json)
            if not as_json and not await container.workers_alive():
                click.echo("Nobody is sending yet: start `callboard serve` or `callboard worker`.", err=True)
            return
        final = await follow(container, tenant, made.id, timeout=None)
        _announce({**answer, **final}, as_json=as_json)


@campaign.command("status")
@_name
@tenant_option
@json_option
@command
async def status(name: str, slug: str, as_json: bool) -> None:
    """Show where a campaign is: every message in exactly one count."""
    async with opened(slug) as (container, tenant):
        found = await _find(container, tenant, name)
        _announce(await figures(container, tenant, found.id), as_json=as_json)


@campaign.command("watch")
@_name
@click.option("--timeout", default=None, type=click.FloatRange(0), metavar="SECONDS", help="Give up after this long.")
@tenant_option
@json_option
@command
async def watch(name: str, timeout: float | None, slug: str, as_json: bool) -> None:
    """Follow a campaign until everything is handed over."""
    async with opened(slug) as (container, tenant):
        found = await _find(container, tenant, name)
        final = await follow(container, tenant, found.id, timeout=timeout)
        _announce(final, as_json=as_json)
        if final["status"] == CampaignStatus.SENDING.value:
            raise click.exceptions.Exit(1)


@campaign.command("list")
@tenant_option
@json_option
@command
async def list_(slug: str, as_json: bool) -> None:
    """List the newest hundred campaigns."""
    from callboard.paging import PageRequest
    from callboard_adapters.sql.queries.store import StoreReads

    async with opened(slug) as (container, tenant):
        newest = await StoreReads(container.store).campaigns_page(tenant.id, PageRequest.of(1, 100))
        rows = [_row(item.campaign, item.tally) for item in newest.items]
    if as_json:
        emit({"campaigns": rows, "total": len(rows)})
    elif rows:
        table(rows, ("name", "status", "recipients", "delivered", "failed", "skipped", "unknown", "id"))
    else:
        click.echo("No campaign yet. Send one: callboard campaign send --segment all --name N --message M")


def _action(name: str, text: str) -> None:
    @campaign.command(name, help=text)
    @_name
    @tenant_option
    @json_option
    @command
    async def act(name_: str, slug: str, as_json: bool) -> None:
        async with opened(slug) as (container, tenant):
            found = await _find(container, tenant, name_)
            await getattr(container.campaigns, name)(tenant.id, found.id)
            _announce(await figures(container, tenant, found.id), as_json=as_json)

    act.params[0].name = "name_"


_action("pause", "Hold a campaign: nothing more is handed over until it is resumed.")
_action("resume", "Go on with a paused campaign.")
_action("cancel", "Stop a campaign for good; what was not handed over is not sent and its credits come back.")


# --- reading ------------------------------------------------------------------------------------------------------


async def figures(container: Container, tenant: Tenant, identity: CampaignId) -> dict[str, Any]:
    """A campaign's counts, from the rollup: they sum to ``recipients``."""
    from callboard_adapters.sql.queries.store import StoreReads

    found = await StoreReads(container.store).campaign_row(tenant.id, identity)
    if found is None:
        refuse("The campaign is gone", code="NOT_FOUND")
    held = await container.campaigns.held_by(tenant.id, identity)
    return _row(found.campaign, found.tally) | {"heldBecause": None if held is None else held.reason}


def _row(found: Campaign, tally: Tally) -> dict[str, Any]:
    return {
        "id": str(found.id),
        "name": found.name,
        "status": found.status.value,
        "statusReason": found.status_reason,
        "nextRunAt": None if found.next_run_at is None else found.next_run_at.isoformat(),
        "recipients": tally.recipients,
        **{state.value: tally[state] for state in State},
        "byReason": dict(tally.by_reason),
        "run": None if found.current_run is None else found.current_run.hex,
    }


async def follow(
    container: Container, tenant: Tenant, identity: CampaignId, *, timeout: float | None
) -> dict[str, Any]:
    """Poll until the campaign has ended, or ``timeout`` seconds; a bar on a terminal. Returns the last figures."""
    deadline = None if timeout is None else time.monotonic() + timeout
    shown = await figures(container, tenant, identity)
    warned = False
    with progress(f"Sending {shown['name']}", shown["recipients"]) as advance:
        while True:
            shown = await figures(container, tenant, identity)
            open_rows = shown["queued"] + shown["sending"]
            advance(shown["recipients"] - open_rows)
            ended = CampaignStatus(shown["status"]) in _ENDED
            if ended or (deadline is not None and time.monotonic() > deadline):
                return shown
            if not warned and not await container.workers_alive():
                warned = True
                click.echo("Nobody is sending yet: start `callboard serve` or `callboard worker`.", err=True)
            await asyncio.sleep(0.25)


async def _find(container: Container, tenant: Tenant, text: str) -> Campaign:
    async with container.store.work(tenant.id) as w:
        try:
            found = await w.campaigns.get(CampaignId(UUID(text)))
        except ValueError:
            found = await w.campaigns.by_name(text)
    if found is None:
        refuse(f"No campaign {text!r}", code="NOT_FOUND", advice=f"See: callboard campaign list --tenant {tenant.slug}")
    return found


def _show(preview: Preview) -> None:
    """The message as one recipient will read it, and what it costs."""
    click.echo("\n".join(f"  │ {line}" for line in preview.text.splitlines()), err=True)
    parts = f"{preview.parts.parts} SMS part{'s' if preview.parts.parts != 1 else ''}"
    click.echo(
        f"  {preview.recipients:,} recipients, {preview.credits:,} of {preview.balance:,} credits, {parts}", err=True
    )
    if preview.unknown:
        click.secho(
            f"  These placeholders stand for nothing and will vanish: {', '.join(preview.unknown)}",
            fg="yellow",
            err=True,
        )


async def _audience(container: Container, tenant: Tenant, text: str) -> Audience:
    """Whom the text means. An unknown segment is refused, never "all"."""
    if text == "all":
        return Everybody()
    known: list[Segment] = await container.segments.list(tenant.id)
    found = [s for s in known if text in {s.key, str(s.id), s.name}]
    if not found:
        keys = ", ".join(s.key for s in known)
        refuse(f"No segment {text!r}", code="NOT_FOUND", advice=f"There is: all, {keys}")
    return InSegment(segment_id=found[0].id)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("not an ISO time, such as 2030-01-31T09:00+05:30", param_hint="--at") from None
    if moment.tzinfo is None:
        raise click.BadParameter("needs an offset, such as +05:30 or Z", param_hint="--at")
    return moment.astimezone(UTC)


def _announce(shown: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        emit(shown)
        return
    click.secho(f"{shown.get('name', shown['id'])}: {shown['status']}", bold=True)
    for key, value in shown.items():
        if key in {"id", "name", "status", "byReason"} or value in {None, 0}:
            continue
        click.echo(f"  {key:<18} {value:,}" if isinstance(value, int) else f"  {key:<18} {value}")
    reasons = shown.get("byReason")
    if isinstance(reasons, dict) and reasons:
        click.echo("  by reason")
        for reason, n in sorted(reasons.items(), key=lambda item: -item[1]):
            click.echo(f"    {reason:<22} {n:,}")
