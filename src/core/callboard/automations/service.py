"""Automations stored, listed, edited and switched; the shop's events kept once each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import attrs

from callboard.automations import rules
from callboard.automations.model import Automation, TextTemplate, Trigger
from callboard.automations.ports import Work
from callboard.clock import Clock
from callboard.errors import NotFound
from callboard.ids import AutomationId, ContactId, Ids, TenantId
from callboard.values import parse_phone
from callboard.work import OpenWork

Automations = list[Automation]
Templates = list[TextTemplate]


@attrs.frozen(kw_only=True)
class AutomationService:
    """The automations of one tenant at a time."""

    work: OpenWork[Work]
    clock: Clock
    ids: Ids

    async def list(self, tenant: TenantId) -> Automations:
        """By creation, newest last."""
        async with self.work(tenant) as w:
            return await w.automations.list()

    async def get(self, tenant: TenantId, automation: AutomationId) -> Automation:
        """NotFound when it is unknown or somebody else's."""
        async with self.work(tenant) as w:
            return _found(await w.automations.get(automation))

    async def create(
        self, tenant: TenantId, *, name: str, trigger: Trigger, message: str, active: bool = True
    ) -> Automation:
        """A new automation; InvalidInput names the field."""
        automation = rules.new_automation(
            automation_id=AutomationId(self.ids.new()),
            name=name,
            trigger=trigger,
            message=message,
            active=active,
            now=self.clock.now(),
        )
        async with self.work(tenant) as w:
            await w.automations.add(automation)
        return automation

    async def update(
        self,
        tenant: TenantId,
        automation: AutomationId,
        *,
        name: str | None = None,
        trigger: Trigger | None = None,
        message: str | None = None,
        active: bool | None = None,
    ) -> Automation:
        """Change what is given, on or off included. NotFound."""
        async with self.work(tenant) as w:
            before = _found(await w.automations.get(automation))
            after = rules.edit(before, name=name, trigger=trigger, message=message, active=active, now=self.clock.now())
            if after is not before:
                await w.automations.save(after)
            return after

    async def delete(self, tenant: TenantId, automation: AutomationId) -> None:
        """NotFound when it is not there."""
        async with self.work(tenant) as w:
            await w.automations.remove(_found(await w.automations.get(automation)).id)

    async def templates(self, tenant: TenantId) -> Templates:
        """The tenant's texts; the built-in ones are there from the first call on."""
        async with self.work(tenant) as w:
            names = {template.name for template in await w.templates.list()}
            missing = [text for text in rules.built_in(self.ids, self.clock.now()) if text.name not in names]
            if missing:
                await w.templates.add_missing(missing)
            return await w.templates.list()


@attrs.frozen(kw_only=True)
class ShopEventService:
    """What happened in the shop, kept until automations take it."""

    work: OpenWork[Work]
    clock: Clock
    ids: Ids

    async def record(
        self,
        tenant: TenantId,
        *,
        type: str,  # noqa: A002 - the word of the contract
        source: str = "api",
        contact: ContactId | None = None,
        phone: str | None = None,
        email: str | None = None,
        properties: Mapping[str, object] | None = None,
        occurred_at: datetime | None = None,
        external_id: str | None = None,
    ) -> bool:
        """Keep one event; False when ``(source, external_id)`` was there already. ``phone`` as a person writes it.

        Without ``external_id`` every call is a new event. NotFound for an unknown contact.
        """
        now = self.clock.now()
        async with self.work(tenant) as w:
            e164 = None if phone is None else parse_phone(phone, w.tenant.region).e164
            if contact is not None:
                known = await w.contacts.get(contact)
                if known is None:
                    raise NotFound("Contact not found")
                e164 = e164 or (known.phone.e164 if known.phone else None)
                email = email or known.email
            event = rules.shop_event(
                external_id=self.ids.new().hex if external_id is None else external_id,
                source=source,
                type=type,
                phone=e164,
                email=email,
                properties=properties or {},
                occurred_at=now if occurred_at is None else occurred_at,
                now=now,
            )
            return await w.shop_events.add(event)


def _found(automation: Automation | None) -> Automation:
    if automation is None:
        raise NotFound("Automation not found")
    return automation
