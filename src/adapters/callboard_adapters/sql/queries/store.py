"""Lists, progress and the dashboard of the store surface: read-only snapshots, a fixed number of statements each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, Row, RowMapping, func, literal, select, true, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from callboard.campaigns.model import CampaignStatus
from callboard.contacts.model import Contact
from callboard.ids import CampaignId, ContactId, MessageId, RunId, SegmentId, TenantId
from callboard.messages.model import Reason, RunState, State
from callboard.paging import Page, PageRequest
from callboard.segments.model import Segment
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.campaigns import to_campaign
from callboard_adapters.sql.contacts import CONTACTS, to_contact
from callboard_adapters.sql.queries import search as find
from callboard_adapters.sql.queries.counts import WITH_RUNS, campaign_clicks, campaign_tallies, m, r, tally_of
from callboard_adapters.sql.queries.dashboard import read_dashboard
from callboard_adapters.sql.queries.model import (
    CampaignRow,
    CampaignSort,
    Dashboard,
    FailedRecipient,
    RunProgress,
    SortOrder,
    Summary,
)
from callboard_adapters.sql.segments import count_eligible
from callboard_adapters.sql.transactions import reading

if TYPE_CHECKING:
    from callboard_adapters.sql.work import SqlStore

_SORTS: Final[Mapping[CampaignSort, ColumnElement[Any]]] = {
    "created_at": t.campaigns.c.created_at,
    "updated_at": t.campaigns.c.updated_at,
    "name": t.campaigns.c.name,
    "schedule_at": t.campaigns.c.schedule_at,
}
_BEGINNING: Final = datetime(1, 1, 2, tzinfo=UTC)
"""Before every contact: asking for times after it says that ``ix_contacts_list`` may answer."""

c = t.contacts.c


class StoreReads:
    """Every list has a total order (ties go by id) and its true total; every figure comes from one snapshot."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    # --- contacts -------------------------------------------------------------------------------------------------

    async def contacts_page(
        self, tenant_id: TenantId, page: PageRequest, *, search: str | None = None
    ) -> Page[Contact]:
        """Live contacts, newest first; ``search`` finds phones, emails and names (:mod:`.search`), blank finds all."""
        term = " ".join((search or "").replace("\x00", " ").split())
        async with reading(self._store.engine, tenant_id) as connection:
            if not term:
                return await self._all_contacts(connection, tenant_id, page)
            region = await connection.scalar(select(t.tenants.c.region).where(t.tenants.c.id == tenant_id))
            found = find.beginning(term, tenant_id=tenant_id, region=region or "ZZ", sqlite=self._store.sqlite)
            result = await self._found_contacts(connection, found, page)
            if result.total == 0 and find.may_be_inside(term):
                result = await self._found_contacts(connection, find.inside(term, tenant_id=tenant_id), page)
            return result

    async def _all_contacts(self, connection: AsyncConnection, tenant_id: TenantId, page: PageRequest) -> Page[Contact]:
        n = t.tenant_counters.c
        total = await connection.scalar(select(n.n).where(n.tenant_id == tenant_id, n.name == CONTACTS)) or 0
        rows = min(page.size, total - page.offset)
        if rows <= 0:
            return Page(items=(), total=total, request=page)
        # the rows before the page are counted off in the index alone, from whichever end is nearer
        behind = total - page.offset - rows
        backwards = page.offset <= behind
        order = (c.created_at.desc(), c.id.desc()) if backwards else (c.created_at, c.id)
        ids = (
            select(c.id)
            .where(c.tenant_id == tenant_id, c.deleted_at.is_(None), c.created_at >= _BEGINNING)
            .order_by(*order)
            .limit(rows)
            .offset(page.offset if backwards else behind)
            .subquery()
        )
        statement = select(t.contacts).join(ids, c.id == ids.c.id).order_by(c.created_at.desc(), c.id.desc())
        items = (await connection.execute(statement)).mappings()
        return Page(items=tuple(to_contact(row) for row in items), total=total, request=page)

    async def _found_contacts(self, connection: AsyncConnection, query: find.Found, page: PageRequest) -> Page[Contact]:
        """One pass over the matches gives their number and the page."""
        found = query.cte("found").prefix_with("MATERIALIZED", dialect="postgresql")
        total = select(func.count().label("total")).select_from(found).subquery()
        ids = (
            select(found.c.id)
            .order_by(found.c.created_at.desc(), found.c.id.desc())
            .limit(page.size)
            .offset(page.offset)
            .subquery()
        )
        statement = (
            select(total.c.total, t.contacts)
            .select_from(total.outerjoin(ids, true()).outerjoin(t.contacts, c.id == ids.c.id))
            .order_by(c.created_at.desc(), c.id.desc())
        )
        rows = (await connection.execute(statement)).mappings().all()
        items = tuple(to_contact(row) for row in rows if row["id"] is not None)
        return Page(items=items, total=rows[0]["total"], request=page)

    # --- campaigns ------------------------------------------------------------------------------------------------

    async def campaigns_page(
        self,
        tenant_id: TenantId,
        page: PageRequest,
        *,
        status: CampaignStatus | None = None,
        sort_by: CampaignSort = "created_at",
        sort_order: SortOrder = "desc",
    ) -> Page[CampaignRow]:
        """Campaigns with their counts; those without a ``schedule_at`` come last either way."""
        k = t.campaigns.c
        mine = [k.tenant_id == tenant_id] + ([k.status == status.value] if status is not None else [])
        column = _SORTS[sort_by]
        key, tie = (column.asc(), k.id.asc()) if sort_order == "asc" else (column.desc(), k.id.desc())
        statement = (
            select(t.campaigns)
            .where(*mine)
            .order_by(key.nulls_last() if sort_by == "schedule_at" else key, tie)
            .limit(page.size)
            .offset(page.offset)
        )
        async with reading(self._store.engine, tenant_id) as connection:
            total = await connection.scalar(select(func.count()).select_from(t.campaigns).where(*mine)) or 0
            campaigns = (await connection.execute(statement)).mappings().all()
            items = await self._campaign_rows(connection, tenant_id, campaigns)
        return Page(items=items, total=total, request=page)

    async def campaign_row(self, tenant_id: TenantId, campaign_id: CampaignId) -> CampaignRow | None:
        """One campaign as the list shows it; None when the tenant has no such campaign."""
        k = t.campaigns.c
        statement = select(t.campaigns).where(k.tenant_id == tenant_id, k.id == campaign_id)
        async with reading(self._store.engine, tenant_id) as connection:
            found = (await connection.execute(statement)).mappings().all()
            rows = await self._campaign_rows(connection, tenant_id, found)
        return rows[0] if rows else None

    async def _campaign_rows(
        self, connection: AsyncConnection, tenant_id: TenantId, rows: Sequence[RowMapping]
    ) -> tuple[CampaignRow, ...]:
        if not rows:
            return ()
        campaigns = [to_campaign(row) for row in rows]
        ids = [campaign.id for campaign in campaigns]
        tallies = await campaign_tallies(connection, tenant_id, ids)
        clicks = await campaign_clicks(connection, tenant_id, ids)
        return tuple(
            CampaignRow(campaign=campaign, tally=tallies[campaign.id], clicks=clicks.get(campaign.id, 0))
            for campaign in campaigns
        )

    async def stats_summary(self, tenant_id: TenantId) -> Summary:
        """All campaigns by status, all their messages by state and reason."""
        k = t.campaigns.c
        statuses = select(k.status, func.count()).where(k.tenant_id == tenant_id).group_by(k.status)
        counts = (
            select(m.state, m.reason, func.sum(m.n))
            .select_from(WITH_RUNS)
            .where(m.tenant_id == tenant_id, r.campaign_id.is_not(None))
            .group_by(m.state, m.reason)
        )
        async with reading(self._store.engine, tenant_id) as connection:
            by_status = {CampaignStatus(status): n for status, n in await connection.execute(statuses)}
            tally = tally_of((state, reason, int(n)) for state, reason, n in await connection.execute(counts))
        return Summary(campaigns=by_status, tally=tally)

    async def run_progress(self, tenant_id: TenantId, campaign_id: CampaignId) -> RunProgress | None:
        """The campaign's newest run; None when the tenant has no such campaign or it never ran."""
        newest = (
            select(r.id, r.number, r.state, r.recipients, r.created_at, r.finished_at)
            .where(r.tenant_id == tenant_id, r.campaign_id == campaign_id)
            .order_by(r.number.desc())
            .limit(1)
        )
        async with reading(self._store.engine, tenant_id) as connection:
            run = (await connection.execute(newest)).first()
            if run is None:
                return None
            counts = select(m.state, m.reason, func.sum(m.n)).where(m.run_id == run.id).group_by(m.state, m.reason)
            tally = tally_of((state, reason, int(n)) for state, reason, n in await connection.execute(counts))
        return RunProgress(
            run_id=RunId(run.id),
            number=run.number,
            state=RunState(run.state),
            recipients=run.recipients,
            created_at=run.created_at,
            finished_at=run.finished_at,
            tally=tally,
        )

    async def failed_recipients(
        self, tenant_id: TenantId, campaign_id: CampaignId, page: PageRequest
    ) -> Page[FailedRecipient]:
        """Failed messages of all runs of the campaign, by run and number; empty for an unknown campaign."""
        per_run = (
            select(r.id, func.sum(m.n))
            .select_from(WITH_RUNS)
            .where(
                r.tenant_id == tenant_id,
                r.campaign_id == campaign_id,
                m.state == State.FAILED.value,
            )
            .group_by(r.id, r.number)
            .order_by(r.number)
        )
        async with reading(self._store.engine, tenant_id) as connection:
            counts = [(RunId(run), int(n)) for run, n in await connection.execute(per_run)]
            slices = [_failed_rows(place, *part) for place, part in enumerate(_slices(counts, page))]
            items: tuple[FailedRecipient, ...] = ()
            if slices:
                rows = union_all(*slices).subquery()
                ordered = select(rows).order_by(rows.c.place, rows.c.seq)
                items = tuple(map(_to_failed, await connection.execute(ordered)))
        return Page(items=items, total=sum(n for _, n in counts), request=page)

    # --- segments -------------------------------------------------------------------------------------------------

    async def segment_counts(
        self, tenant_id: TenantId, segments: Sequence[Segment], *, today: date
    ) -> Mapping[SegmentId, int]:
        """How many a campaign to each segment would reach now; one pass over the contacts for all of them."""
        if not segments:
            return {}
        statement = count_eligible(
            [segment.resolved for segment in segments],
            today=today,
            sqlite=self._store.sqlite,
            tenant_id=tenant_id,
        )
        async with reading(self._store.engine, tenant_id) as connection:
            row = (await connection.execute(statement)).one()
        return {segment.id: n for segment, n in zip(segments, row, strict=True)}

    # --- dashboard ------------------------------------------------------------------------------------------------

    async def dashboard(self, tenant_id: TenantId, *, today: date, timezone: str) -> Dashboard:
        """The tenant's figures; ``today`` is the date in ``timezone`` (IANA)."""
        async with reading(self._store.engine, tenant_id) as connection:
            return await read_dashboard(connection, tenant_id, today=today, timezone=timezone)


def _slices(counts: Sequence[tuple[RunId, int]], page: PageRequest) -> Iterator[tuple[RunId, int, int]]:
    """Which (run, offset, limit) the page is made of, when each run has so many rows."""
    skip, wanted = page.offset, page.size
    for run, n in counts:
        if wanted and skip < n:
            taken = min(wanted, n - skip)
            yield run, skip, taken
            wanted -= taken
        skip = max(0, skip - n)


def _failed_rows(place: int, run: RunId, offset: int, limit: int) -> Any:
    x = t.messages.c
    rows = (
        select(t.messages, literal(place).label("place"))
        .where(x.run_id == run, x.failed_at.is_not(None), x.state == State.FAILED.value)
        .order_by(x.seq)
        .limit(limit)
        .offset(offset)
        .subquery()
    )
    return select(rows)


def _to_failed(row: Row[Any]) -> FailedRecipient:
    return FailedRecipient(
        id=MessageId(RunId(row.run_id), row.seq),
        contact_id=None if row.contact_id is None else ContactId(row.contact_id),
        phone=row.phone,
        first_name=row.first_name,
        last_name=row.last_name,
        reason=None if row.reason is None else Reason(row.reason),
        provider_code=row.provider_code,
        attempt=row.attempt,
        accepted=row.accepted_at is not None,
        failed_at=row.failed_at,
    )


__all__ = ["StoreReads"]
