"""Short links and their clicks in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from sqlalchemy import RowMapping, func, select

from callboard.errors import AlreadyExists
from callboard.ids import CampaignId, ContactId, TenantId
from callboard.links.model import Link
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.dialect import batches, insert_into
from callboard_adapters.sql.scope import Scope


def _to_link(row: RowMapping) -> Link:
    return Link(**row)


class SqlLinks:
    """One tenant's links."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def for_campaign(self, campaign: CampaignId) -> list[Link]:
        """In the order they were made."""
        n = t.links.c
        rows = await self._scope.connection.execute(
            select(t.links)
            .where(n.tenant_id == self._scope.tenant_id, n.campaign_id == campaign)
            .order_by(n.created_at, n.token)
        )
        return [_to_link(row) for row in rows.mappings()]

    async def add(self, *links: Link) -> None:
        """AlreadyExists when a token is taken."""
        if not links:
            return
        statement = (
            insert_into(t.links, is_sqlite=self._scope.sqlite)
            .values(
                [
                    {
                        "token": link.token,
                        "tenant_id": self._scope.tenant_id,
                        "url": link.url,
                        "campaign_id": link.campaign_id,
                        "created_at": link.created_at,
                        "expires_at": link.expires_at,
                    }
                    for link in links
                ]
            )
            .on_conflict_do_nothing()
            .returning(t.links.c.token)
        )
        if len((await self._scope.connection.execute(statement)).all()) < len(links):
            raise AlreadyExists("That token is taken")

    async def clicks(self, campaign: CampaignId) -> int:
        """Clicks by people on the campaign's links."""
        n, k = t.links.c, t.link_clicks.c
        statement = (
            select(func.coalesce(func.sum(k.n), 0))
            .select_from(t.links.join(t.link_clicks, n.token == k.token))
            .where(n.tenant_id == self._scope.tenant_id, n.campaign_id == campaign)
        )
        return int((await self._scope.connection.execute(statement)).scalar_one())


class SqlLinkDirectory:
    """Every tenant's links, by token (system scope)."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def by_token(self, token: str) -> Link | None:
        found = await self._scope.connection.execute(select(t.links).where(t.links.c.token == token))
        row = found.mappings().first()
        return None if row is None else _to_link(row)

    async def recipient(self, contact: ContactId) -> tuple[TenantId, str | None] | None:
        """Whose contact this is, and its phone; deleted contacts too."""
        p = t.contacts.c
        row = (await self._scope.connection.execute(select(p.tenant_id, p.phone).where(p.id == contact))).first()
        return None if row is None else (TenantId(row.tenant_id), row.phone)

    async def add_clicks(self, clicks: Mapping[tuple[TenantId, str, date], int]) -> None:
        """Add counted clicks per (tenant, token, UTC day); sorted, so that two processes cannot deadlock."""
        k = t.link_clicks
        rows = [
            {"tenant_id": tenant, "token": token, "day": day, "n": n}
            for (tenant, token, day), n in sorted(clicks.items(), key=lambda item: item[0][1:])
        ]
        for part in batches(rows):
            statement = insert_into(k, is_sqlite=self._scope.sqlite).values(part)
            await self._scope.connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["token", "day"], set_={"n": k.c.n + statement.excluded.n}
                )
            )
