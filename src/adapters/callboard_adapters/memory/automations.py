"""Automations, the texts they may start from, and the shop's events."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from callboard.automations.model import Automation, ShopEvent, TextTemplate
from callboard.ids import AutomationId
from callboard_adapters.memory.scope import TenantRepository, port


class MemoryAutomations(TenantRepository):
    """Automations by id."""

    name = "automations"

    @port
    def get(self, automation: AutomationId) -> Automation | None:
        return self._mine.automations.get(automation)

    @port
    def list(self) -> builtins.list[Automation]:
        return sorted(self._mine.automations.values(), key=lambda a: (a.created_at, a.id))

    @port
    def add(self, automation: Automation) -> None:
        self._mine.automations.put(automation.id, automation)

    @port
    def save(self, automation: Automation) -> None:
        if automation.id in self._mine.automations:
            self._mine.automations.put(automation.id, automation)

    @port
    def remove(self, automation: AutomationId) -> None:
        self._mine.automations.drop(automation)


class MemoryTemplates(TenantRepository):
    """Text templates, unique by name."""

    name = "templates"

    @port
    def list(self) -> builtins.list[TextTemplate]:
        return sorted(self._mine.templates.values(), key=lambda t: (t.created_at, t.id))

    @port
    def add_missing(self, templates: Sequence[TextTemplate]) -> None:
        names = {template.name for template in self._mine.templates.values()}
        for template in templates:
            if template.name not in names:
                names.add(template.name)
                self._mine.templates.put(template.id, template)


class MemoryShopEvents(TenantRepository):
    """The shop's events by (source, its own id)."""

    name = "shop_events"

    @port
    def add(self, event: ShopEvent) -> bool:
        key = (event.source, event.external_id)
        if key in self._mine.shop_events:
            return False
        self._mine.shop_events.put(key, event)
        return True
