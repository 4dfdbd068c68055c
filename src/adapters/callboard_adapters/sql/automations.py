"""Automations, text templates and the shop's events in SQL."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

import attrs
from sqlalchemy import RowMapping, delete, insert, select, update

from callboard.automations.model import Automation, ShopEvent, TextTemplate, Trigger
from callboard.ids import AutomationId, TemplateId
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.dialect import insert_into
from callboard_adapters.sql.scope import Scope


def _to_automation(row: RowMapping) -> Automation:
    return Automation(
        id=AutomationId(row["id"]),
        name=row["name"],
        trigger=Trigger(row["trigger"]),
        message=row["message"],
        active=row["active"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _values(automation: Automation) -> dict[str, object]:
    return {**attrs.asdict(automation), "trigger": automation.trigger.value}


class SqlAutomations:
    """The tenant's automations."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._mine = t.automations.c.tenant_id == scope.tenant_id

    async def get(self, automation: AutomationId) -> Automation | None:
        found = await self._scope.connection.execute(
            select(t.automations).where(self._mine, t.automations.c.id == automation)
        )
        row = found.mappings().first()
        return None if row is None else _to_automation(row)

    async def list(self) -> builtins.list[Automation]:
        """By creation, newest last."""
        a = t.automations.c
        rows = await self._scope.connection.execute(
            select(t.automations).where(self._mine).order_by(a.created_at, a.id)
        )
        return [_to_automation(row) for row in rows.mappings()]

    async def add(self, automation: Automation) -> None:
        await self._scope.connection.execute(
            insert(t.automations).values(tenant_id=self._scope.tenant_id, **_values(automation))
        )

    async def save(self, automation: Automation) -> None:
        await self._scope.connection.execute(
            update(t.automations).where(self._mine, t.automations.c.id == automation.id).values(_values(automation))
        )

    async def remove(self, automation: AutomationId) -> None:
        await self._scope.connection.execute(delete(t.automations).where(self._mine, t.automations.c.id == automation))


class SqlTemplates:
    """The tenant's text templates."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def list(self) -> builtins.list[TextTemplate]:
        """By creation."""
        x = t.text_templates.c
        rows = await self._scope.connection.execute(
            select(x.id, x.name, x.category, x.message, x.created_at, x.updated_at)
            .where(x.tenant_id == self._scope.tenant_id)
            .order_by(x.created_at, x.id)
        )
        return [TextTemplate(**{**row, "id": TemplateId(row["id"])}) for row in rows.mappings()]

    async def add_missing(self, templates: Sequence[TextTemplate]) -> None:
        """Insert those whose name the tenant does not have."""
        if templates:
            statement = insert_into(t.text_templates, is_sqlite=self._scope.sqlite).on_conflict_do_nothing()
            rows = [{"tenant_id": self._scope.tenant_id, **attrs.asdict(template)} for template in templates]
            await self._scope.connection.execute(statement, rows)


class SqlShopEvents:
    """The shop's events, kept once each."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def add(self, event: ShopEvent) -> bool:
        """False when (source, external_id) is already there."""
        statement = (
            insert_into(t.shop_events, is_sqlite=self._scope.sqlite)
            .values(tenant_id=self._scope.tenant_id, **attrs.asdict(event))
            .on_conflict_do_nothing()
            .returning(t.shop_events.c.external_id)
        )
        return (await self._scope.connection.execute(statement)).first() is not None
