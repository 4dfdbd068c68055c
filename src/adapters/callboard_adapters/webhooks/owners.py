"""Whose callback it is: tenants by the secrets and numbers their settings hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from callboard.ids import TenantId
from callboard.work import OpenSystemWork

_SECONDS: Final = 5.0


class Directory(Protocol):
    """The one look-up needed here."""

    async def settings_named(self, name: str) -> Mapping[TenantId, str]:
        """Every tenant's value of one setting."""
        ...


class System(Protocol):
    """A transaction across tenants."""

    @property
    def directory(self) -> Directory: ...


class Owners:
    """Setting name → tenants' values, read at most every five seconds; one read at a time per name."""

    def __init__(self, system: OpenSystemWork[System], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._system = system
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, Mapping[TenantId, str]]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def holding(self, name: str) -> Mapping[TenantId, str]:
        """Every tenant with a value for the setting ``name``; empty values count as unset."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            known = self._known.get(name)
            if known is not None and self._monotonic() < known[0]:
                return known[1]
            asked = self._monotonic()
            async with self._system() as s:
                values = await s.directory.settings_named(name)
            found = {tenant: value for tenant, value in values.items() if value}
            self._known[name] = (asked + _SECONDS, found)
            return found
