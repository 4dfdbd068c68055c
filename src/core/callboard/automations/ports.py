"""What automations need from a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from callboard.automations.model import Automation, ShopEvent, TextTemplate
from callboard.contacts.ports import Contacts
from callboard.ids import AutomationId
from callboard.tenants.model import Tenant


class Automations(Protocol):
    """The tenant's automations."""

    async def get(self, automation: AutomationId) -> Automation | None: ...

    async def list(self) -> list[Automation]:
        """By creation, newest last."""
        ...

    async def add(self, automation: Automation) -> None: ...

    async def save(self, automation: Automation) -> None: ...

    async def remove(self, automation: AutomationId) -> None: ...


class Templates(Protocol):
    """The tenant's text templates."""

    async def list(self) -> list[TextTemplate]: ...

    async def add_missing(self, templates: Sequence[TextTemplate]) -> None:
        """Insert those whose name the tenant does not have."""
        ...


class ShopEvents(Protocol):
    """The shop's events, kept once each."""

    async def add(self, event: ShopEvent) -> bool:
        """False when (source, external_id) is already there."""
        ...


class Work(Protocol):
    """One tenant's transaction."""

    @property
    def tenant(self) -> Tenant: ...
    @property
    def contacts(self) -> Contacts: ...
    @property
    def automations(self) -> Automations: ...
    @property
    def templates(self) -> Templates: ...
    @property
    def shop_events(self) -> ShopEvents: ...
