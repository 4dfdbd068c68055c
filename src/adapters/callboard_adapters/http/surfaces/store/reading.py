"""From rows and tallies to what the store prints."""

from __future__ import annotations

from typing import Any

from callboard.campaigns.model import CampaignStatus
from callboard.campaigns.rules import dump_audience
from callboard.campaigns.service import Preview
from callboard.messages.model import OPEN, Run, State, Tally
from callboard.messages.ports import SenderState
from callboard_adapters.http.surfaces.store.wire import campaigns as wire
from callboard_adapters.http.surfaces.store.wire import dashboard as board
from callboard_adapters.sql.queries.model import CampaignRow, Dashboard, FailedRecipient, RunProgress, Summary

EMPTY = Tally(by_state={}, by_reason={})


def counts(tally: Tally) -> dict[str, Any]:
    """The disjoint counts that sum to ``recipients``: rows in hand are queued, read ones delivered."""
    return {
        "recipients": tally.recipients,
        "queued": tally[State.QUEUED] + tally[State.SENDING],
        "accepted": tally[State.ACCEPTED],
        "sent": tally[State.SENT],
        "delivered": delivered(tally),
        "failed": tally[State.FAILED],
        "skipped": tally[State.SKIPPED],
        "unknown": tally[State.UNKNOWN],
        "unconfirmed": tally[State.UNCONFIRMED],
        "cancelled": tally[State.CANCELLED],
        "by_reason": dict(tally.by_reason),
    }


def delivered(tally: Tally) -> int:
    """Delivered, read or not."""
    return tally[State.DELIVERED] + tally[State.READ]


def percent(part: int, whole: int) -> float:
    """One decimal; 0 of nothing."""
    return round(100 * part / whole, 1) if whole else 0.0


def campaign_out(row: CampaignRow) -> wire.CampaignOut:
    """A campaign with its counts."""
    campaign, tally = row.campaign, row.tally
    return wire.CampaignOut(
        id=str(campaign.id),
        name=campaign.name,
        message=campaign.message,
        status=campaign.status,
        status_reason=campaign.status_reason,
        audience=dump_audience(campaign.audience),
        include_discount=campaign.include_discount,
        discount_value=campaign.discount_value,
        meta=wire.CampaignMeta(include_discount=campaign.include_discount, discount_value=campaign.discount_value),
        schedule_type=campaign.schedule.type,
        scheduled_at=campaign.schedule.at,
        schedule_at=campaign.schedule.at,
        recurring_days=campaign.schedule.every_days,
        next_run_at=campaign.next_run_at,
        priority=campaign.priority,
        created_at=campaign.created_at,
        updated_at=campaign.updated_at,
        recipient_count=tally.recipients,
        sent_count=tally.accepted,
        delivered_count=delivered(tally),
        failed_count=tally[State.FAILED],
        clicks=row.clicks,
        totals=wire.Totals(**counts(tally)),
    )


def metrics_out(row: CampaignRow) -> wire.MetricsOut:
    """What became of everybody, over all rounds."""
    tally = row.tally
    return wire.MetricsOut(
        campaign_id=str(row.campaign.id),
        status=row.campaign.status,
        **counts(tally),
        recipient_count=tally.recipients,
        sent_count=tally.accepted,
        delivered_count=delivered(tally),
        failed_count=tally[State.FAILED],
        delivery_rate=percent(delivered(tally), tally.accepted),
        clicks=row.clicks,
    )


def processed(progress: RunProgress | None) -> tuple[int, int]:
    """(rows that left the queue, all rows) of the newest round."""
    if progress is None:
        return 0, 0
    return progress.recipients - sum(progress.tally[state] for state in OPEN), progress.recipients


def status_out(row: CampaignRow, progress: RunProgress | None, held: SenderState | None) -> wire.StatusOut:
    """Where a campaign is."""
    campaign = row.campaign
    return wire.StatusOut(
        id=str(campaign.id),
        campaign_id=str(campaign.id),
        status=campaign.status,
        status_reason=campaign.status_reason,
        **counts(row.tally),
        progress=percent(*processed(progress)),
        held_until=None if held is None else held.paused_until,
        held_because=None if held is None else held.reason,
        next_run_at=campaign.next_run_at,
        updated_at=campaign.updated_at,
    )


def progress_out(row: CampaignRow, progress: RunProgress | None) -> wire.ProgressOut:
    """How far the newest round is."""
    done, total = processed(progress)
    tally = progress.tally if progress is not None else EMPTY
    return wire.ProgressOut(
        campaign_id=str(row.campaign.id),
        status=row.campaign.status,
        run=progress.number if progress is not None else 0,
        total=total,
        processed=done,
        remaining=total - done,
        sent=tally.accepted,
        delivered=delivered(tally),
        failed=tally[State.FAILED],
        percentage=percent(done, total),
        progress=percent(done, total),
        by_reason=dict(tally.by_reason),
    )


def preview_out(campaign: str, preview: Preview) -> wire.PreviewOut:
    """What an enqueue would do now."""
    return wire.PreviewOut(
        campaign_id=campaign,
        recipient_count=preview.recipients,
        estimated_count=preview.recipients,
        credits_required=preview.credits,
        credits_available=preview.balance,
        can_send=preview.affordable and preview.recipients > 0,
        message=preview.text,
        sms_parts=preview.parts.parts,
        characters=len(preview.text),
        placeholders=list(preview.placeholders),
        unknown_placeholders=list(preview.unknown),
    )


def failed_out(row: FailedRecipient) -> wire.FailedRecipientOut:
    """One failed message."""
    return wire.FailedRecipientOut(
        id=str(row.id),
        contact_id=None if row.contact_id is None else str(row.contact_id),
        phone=row.phone,
        phone_e164=row.phone,
        first_name=row.first_name,
        last_name=row.last_name,
        accepted=row.accepted,
        reason=row.reason,
        provider_code=row.provider_code,
        attempt=row.attempt,
        failed_at=row.failed_at,
    )


def run_out(run: Run, tally: Tally) -> wire.RunOut:
    """One round."""
    return wire.RunOut(
        id=str(run.id),
        number=run.number,
        status=run.state,
        recipients=run.recipients,
        created_at=run.created_at,
        finished_at=run.finished_at,
        retry_of=None if run.retry_of is None else str(run.retry_of),
        totals=wire.Totals(**counts(tally)),
    )


def summary_out(summary: Summary) -> wire.SummaryOut:
    """All campaigns together."""
    by_status = {status.value: summary.campaigns.get(status, 0) for status in CampaignStatus}
    tally = summary.tally
    return wire.SummaryOut(
        total=summary.total,
        total_campaigns=summary.total,
        by_status=by_status,
        **by_status,
        total_recipients=tally.recipients,
        total_sent=tally.accepted,
        total_delivered=delivered(tally),
        total_failed=tally[State.FAILED],
        delivery_rate=percent(delivered(tally), tally.accepted),
    )


def dashboard_out(figures: Dashboard, active_campaigns: int) -> board.DashboardOut:
    """The first page."""
    recent = figures.last_7_days
    return board.DashboardOut(
        credits=figures.credits,
        total_campaigns=figures.total_campaigns,
        total_contacts=figures.total_contacts,
        total_messages_sent=figures.total_messages_sent,
        active_automations=figures.active_automations,
        kpis=board.Kpis(
            total_contacts=figures.total_contacts,
            active_campaigns=active_campaigns,
            active_automations=figures.active_automations,
        ),
        reports=board.Reports(
            last7_days=board.LastDays(
                sent=recent.sent,
                delivered=recent.delivered,
                failed=recent.failed,
                unsubscribes=recent.unsubscribes,
            ),
            top_campaigns=[
                board.TopCampaign(
                    id=str(top.id),
                    name=top.name,
                    sent=top.tally.accepted,
                    delivered=delivered(top.tally),
                    failed=top.tally[State.FAILED],
                    created_at=top.created_at,
                )
                for top in figures.top_campaigns
            ],
            delivery_rate_trend=[
                board.DayRate(date=rate.day, delivered_rate=rate.delivered_rate) for rate in figures.delivery_rate_trend
            ],
            credits_usage=[
                board.DayCredits(date=used.day, credits_debited=used.credits_debited) for used in figures.credits_usage
            ],
        ),
    )
