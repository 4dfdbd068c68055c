"""The tenant behind a principal: its zone and region, read at most every five seconds."""

from __future__ import annotations

import time
from typing import Final, Protocol

from callboard.errors import NotFound
from callboard.ids import TenantId
from callboard.tenants.model import Tenant
from callboard.work import OpenSystemWork

_SECONDS: Final = 5.0


class Directory(Protocol):
    """The one look-up needed here."""

    async def by_id(self, tenant: TenantId) -> Tenant | None: ...


class System(Protocol):
    """A transaction across tenants."""

    @property
    def directory(self) -> Directory: ...


class TenantBook:
    """Tenants by id. An unknown one is asked for every time: a tenant made a moment ago is there at once."""

    def __init__(self, system: OpenSystemWork[System]) -> None:
        self._system = system
        self._known: dict[TenantId, tuple[float, Tenant]] = {}

    async def get(self, tenant: TenantId) -> Tenant:
        """NotFound when there is none."""
        known = self._known.get(tenant)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        asked = time.monotonic()
        async with self._system() as s:
            found = await s.directory.by_id(tenant)
        if found is None:
            raise NotFound("No such tenant")
        self._known[tenant] = (asked + _SECONDS, found)
        return found

    def forget(self, tenant: TenantId) -> None:
        """It was changed here: read it again."""
        self._known.pop(tenant, None)
