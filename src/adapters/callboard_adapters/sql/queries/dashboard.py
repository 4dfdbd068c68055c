"""The dashboard in three statements, whatever the tenant's size."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Row, and_, case, func, literal_column, null, select
from sqlalchemy.ext.asyncio import AsyncConnection

from callboard.ids import CampaignId, TenantId
from callboard.messages.model import State
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.contacts import CONTACTS
from callboard_adapters.sql.queries.counts import WITH_RUNS, m, r, sent_count, tally_of
from callboard_adapters.sql.queries.model import (
    Activity,
    CreditsUsed,
    Dashboard,
    DeliveryRate,
    TopCampaign,
)

DAYS: Final = 7
TOP: Final = 5


async def read_dashboard(connection: AsyncConnection, tenant_id: TenantId, *, today: date, timezone: str) -> Dashboard:
    """The figures of one snapshot; ``today`` is the tenant's date in ``timezone``."""
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    figures = await _figures(connection, tenant_id, days, ZoneInfo(timezone))
    by_day = await _by_day(connection, tenant_id, days[0])
    everything = tally_of(count for counts in by_day.values() for count in counts)
    recent = {day: tally_of(by_day.get(day, ())) for day in days}
    return Dashboard(
        credits=figures.credits,
        total_campaigns=figures.campaigns,
        total_contacts=figures.contacts,
        total_messages_sent=everything.accepted,
        active_automations=figures.automations,
        last_7_days=Activity(
            sent=sum(tally.accepted for tally in recent.values()),
            delivered=sum(tally[State.DELIVERED] + tally[State.READ] for tally in recent.values()),
            failed=sum(tally[State.FAILED] for tally in recent.values()),
            unsubscribes=figures.unsubscribes,
        ),
        top_campaigns=await _top(connection, tenant_id),
        delivery_rate_trend=tuple(
            DeliveryRate(
                day=day,
                delivered_rate=round(100 * (tally[State.DELIVERED] + tally[State.READ]) / tally.accepted, 1),
            )
            for day, tally in recent.items()
            if tally.accepted
        ),
        credits_usage=tuple(
            CreditsUsed(day=day, credits_debited=-int(getattr(figures, f"debited_{n}"))) for n, day in enumerate(days)
        ),
    )


async def _figures(connection: AsyncConnection, tenant_id: TenantId, days: list[date], zone: ZoneInfo) -> Row[Any]:
    """Everything that is one number, in one row."""
    midnights = [_midnight(day, zone) for day in [*days, days[-1] + timedelta(days=1)]]
    e, u, n = t.credit_entries.c, t.consent_records.c, t.tenant_counters.c
    # literals, as in the predicates of the two partial indexes
    debits = (
        select(
            *(
                func.coalesce(func.sum(case((and_(e.at >= start, e.at < end), e.amount), else_=0)), 0).label(
                    f"debited_{number}"
                )
                for number, (start, end) in enumerate(pairwise(midnights))
            )
        )
        .where(
            e.tenant_id == tenant_id, e.kind == literal_column("'debit'"), e.at >= midnights[0], e.at < midnights[-1]
        )
        .subquery()
    )
    statement = select(
        _number(select(t.credit_accounts.c.balance).where(t.credit_accounts.c.tenant_id == tenant_id), "credits"),
        _number(select(n.n).where(n.tenant_id == tenant_id, n.name == CONTACTS), "contacts"),
        _number(select(func.count()).where(t.campaigns.c.tenant_id == tenant_id), "campaigns"),
        _number(
            select(func.count()).where(t.automations.c.tenant_id == tenant_id, t.automations.c.active.is_(True)),
            "automations",
        ),
        _number(
            select(func.count()).where(
                u.tenant_id == tenant_id,
                u.consent == literal_column("'opted_out'"),
                u.source != literal_column("'import'"),
                u.at >= midnights[0],
                u.at < midnights[-1],
            ),
            "unsubscribes",
        ),
        *debits.c,
    )
    return (await connection.execute(statement)).one()


def _number(query: Any, name: str) -> ColumnElement[int]:
    return func.coalesce(query.scalar_subquery(), 0).label(name)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a local day begins, in UTC."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


async def _by_day(
    connection: AsyncConnection, tenant_id: TenantId, first: date
) -> dict[date | None, list[tuple[str, str, int]]]:
    """(state, reason, n) of the tenant's messages per day; everything before ``first`` and undated under None."""
    day = case((m.day >= first, m.day), else_=null()).label("on_day")
    statement = (
        select(day, m.state, m.reason, func.sum(m.n)).where(m.tenant_id == tenant_id).group_by(day, m.state, m.reason)
    )
    counts: dict[date | None, list[tuple[str, str, int]]] = defaultdict(list)
    for on, state, reason, n in await connection.execute(statement):
        counts[on].append((state, reason, int(n)))
    return counts


async def _top(connection: AsyncConnection, tenant_id: TenantId) -> tuple[TopCampaign, ...]:
    """The campaigns with most messages sent, newest first among equals."""
    c = t.campaigns.c
    sent = sent_count()
    top = (
        select(r.campaign_id, sent.label("sent"))
        .select_from(WITH_RUNS)
        .where(m.tenant_id == tenant_id, r.campaign_id.is_not(None))
        .group_by(r.campaign_id)
        .having(sent > 0)
        .order_by(sent.desc(), r.campaign_id.desc())
        .limit(TOP)
        .subquery()
    )
    statement = (
        select(c.id, c.name, c.created_at, top.c.sent, m.state, m.reason, func.sum(m.n).label("n"))
        .select_from(
            top.join(t.campaigns, c.id == top.c.campaign_id)
            .join(t.runs, r.campaign_id == c.id)
            .join(t.message_counts, m.run_id == r.id)
        )
        .where(c.tenant_id == tenant_id)
        .group_by(c.id, c.name, c.created_at, top.c.sent, m.state, m.reason)
    )
    rows = (await connection.execute(statement)).all()
    counts: dict[Any, list[tuple[str, str, int]]] = defaultdict(list)
    for row in rows:
        counts[row.id].append((row.state, row.reason, int(row.n)))
    ranked = sorted({(row.sent, row.id, row.name, row.created_at) for row in rows}, key=lambda x: x[:2], reverse=True)
    return tuple(
        TopCampaign(id=CampaignId(id_), name=name, created_at=created_at, tally=tally_of(counts[id_]))
        for _, id_, name, created_at in ranked
    )
