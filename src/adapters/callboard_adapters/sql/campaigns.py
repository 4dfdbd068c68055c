"""Campaigns in SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import attrs
from sqlalchemy import ColumnElement, RowMapping, delete, select, update
from sqlalchemy.exc import IntegrityError

from callboard.campaigns.model import Campaign, CampaignStatus, Schedule, ScheduleType
from callboard.campaigns.rules import dump_audience, parse_audience
from callboard.errors import AlreadyExists
from callboard.ids import CampaignId, RunId
from callboard.messages.model import Priority, WhatsAppTemplate
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.dialect import insert_into
from callboard_adapters.sql.scope import Scope


def to_campaign(row: RowMapping) -> Campaign:
    """A stored campaign."""
    return Campaign(
        id=CampaignId(row["id"]),
        name=row["name"],
        message=row["message"],
        audience=parse_audience(json.loads(row["audience"])),
        include_discount=row["include_discount"],
        discount_value=row["discount_value"],
        schedule=Schedule(type=ScheduleType(row["schedule_type"]), at=row["schedule_at"], every_days=row["every_days"]),
        priority=Priority(row["priority"]),
        template=None if row["template"] is None else _to_template(json.loads(row["template"])),
        status=CampaignStatus(row["status"]),
        status_reason=row["status_reason"],
        current_run=None if row["current_run"] is None else RunId(row["current_run"]),
        rounds=row["rounds"],
        next_run_at=row["next_run_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _to_template(stored: Mapping[str, Any]) -> WhatsAppTemplate:
    return WhatsAppTemplate(**{**stored, "body": tuple(stored["body"])})


def _values(campaign: Campaign) -> dict[str, object]:
    template = campaign.template
    return {
        "id": campaign.id,
        "name": campaign.name,
        "message": campaign.message,
        "audience": json.dumps(dump_audience(campaign.audience)),
        "include_discount": campaign.include_discount,
        "discount_value": campaign.discount_value,
        "schedule_type": campaign.schedule.type.value,
        "schedule_at": campaign.schedule.at,
        "every_days": campaign.schedule.every_days,
        "priority": campaign.priority.value,
        "template": None if template is None else json.dumps(attrs.asdict(template), ensure_ascii=False),
        "status": campaign.status.value,
        "status_reason": campaign.status_reason,
        "current_run": campaign.current_run,
        "rounds": campaign.rounds,
        "next_run_at": campaign.next_run_at,
        "created_at": campaign.created_at,
        "updated_at": campaign.updated_at,
    }


class SqlCampaigns:
    """The tenant's campaigns."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._mine = t.campaigns.c.tenant_id == scope.tenant_id

    async def get(self, campaign: CampaignId) -> Campaign | None:
        return await self._one(t.campaigns.c.id == campaign)

    async def get_for_update(self, campaign: CampaignId) -> Campaign | None:
        """The same, locked until the transaction ends; on SQLite the transaction holds the only lock there is."""
        return await self._one(t.campaigns.c.id == campaign, lock=True)

    async def by_name(self, name: str) -> Campaign | None:
        return await self._one(t.campaigns.c.name == name)

    async def _one(self, condition: ColumnElement[bool], *, lock: bool = False) -> Campaign | None:
        statement = select(t.campaigns).where(self._mine, condition)
        rows = await self._scope.connection.execute(statement.with_for_update() if lock else statement)
        row = rows.mappings().first()
        return None if row is None else to_campaign(row)

    async def add(self, campaign: Campaign) -> None:
        """AlreadyExists when the name is taken."""
        statement = (
            insert_into(t.campaigns, is_sqlite=self._scope.sqlite)
            .values(tenant_id=self._scope.tenant_id, **_values(campaign))
            .on_conflict_do_nothing()
            .returning(t.campaigns.c.id)
        )
        if (await self._scope.connection.execute(statement)).first() is None:
            raise AlreadyExists("A campaign of that name exists", field="name")

    async def save(self, campaign: Campaign, *, expected: Collection[CampaignStatus]) -> bool:
        """Compare-and-set on the stored status; False when it was none of ``expected``. AlreadyExists for the name."""
        c = t.campaigns.c
        statement = (
            update(t.campaigns)
            .where(self._mine, c.id == campaign.id, c.status.in_([status.value for status in expected]))
            .values(_values(campaign))
            .returning(c.id)
        )
        try:
            async with self._scope.connection.begin_nested():
                return (await self._scope.connection.execute(statement)).first() is not None
        except IntegrityError:
            raise AlreadyExists("A campaign of that name exists", field="name") from None

    async def remove(self, campaign: CampaignId) -> None:
        await self._scope.connection.execute(delete(t.campaigns).where(self._mine, t.campaigns.c.id == campaign))
