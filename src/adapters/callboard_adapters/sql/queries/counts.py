"""Sums of the ledger's rollup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from callboard.ids import CampaignId, TenantId
from callboard.messages.model import HANDED_OVER, Reason, State, Tally
from callboard_adapters.sql import tables as t

m, r = t.message_counts.c, t.runs.c
WITH_RUNS: Final = t.message_counts.join(t.runs, r.id == m.run_id)


def tally_of(counts: Iterable[tuple[str, str, int]]) -> Tally:
    """(state, reason, n) triples as a tally; reasons of rows that went out plainly are left out."""
    by_state: Counter[State] = Counter()
    by_reason: Counter[str] = Counter()
    for word, reason, n in counts:
        state = State(word)
        by_state[state] += n
        if state not in HANDED_OVER and reason and reason != Reason.CLEARED:
            by_reason[reason] += n
    return Tally(
        by_state={state: n for state, n in by_state.items() if n},
        by_reason={reason: n for reason, n in by_reason.items() if n},
    )


def sent_count() -> ColumnElement[int]:
    """How many rows of a group were accepted by the provider: good for an order, :class:`Tally` has the figure."""
    handed_over = or_(
        m.state.in_(sorted(HANDED_OVER)), and_(m.state == State.FAILED.value, m.reason == Reason.UNDELIVERED.value)
    )
    return func.coalesce(func.sum(case((handed_over, m.n), else_=0)), 0)


async def campaign_tallies(
    connection: AsyncConnection, tenant_id: TenantId, campaigns: Collection[CampaignId]
) -> dict[CampaignId, Tally]:
    """The counts of all runs of each campaign; a campaign that never ran has none. One statement."""
    statement = (
        select(r.campaign_id, m.state, m.reason, func.sum(m.n))
        .select_from(WITH_RUNS)
        .where(r.tenant_id == tenant_id, r.campaign_id.in_(campaigns))
        .group_by(r.campaign_id, m.state, m.reason)
    )
    grouped: dict[CampaignId, list[tuple[str, str, int]]] = {campaign: [] for campaign in campaigns}
    for campaign, state, reason, n in await connection.execute(statement):
        grouped[campaign].append((state, reason, int(n)))
    return {campaign: tally_of(counts) for campaign, counts in grouped.items()}


async def campaign_clicks(
    connection: AsyncConnection, tenant_id: TenantId, campaigns: Collection[CampaignId]
) -> dict[Any, int]:
    """Clicks on each campaign's links. One statement."""
    k, n = t.link_clicks.c, t.links.c
    statement = (
        select(n.campaign_id, func.sum(k.n))
        .select_from(t.links.join(t.link_clicks, k.token == n.token))
        .where(n.tenant_id == tenant_id, n.campaign_id.in_(campaigns))
        .group_by(n.campaign_id)
    )
    return {campaign: int(clicks) for campaign, clicks in await connection.execute(statement)}
