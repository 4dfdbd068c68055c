"""What every in-memory repository stands on: the open transaction, and how a port call looks from outside."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

import attrs

from callboard.clock import Clock
from callboard.errors import NotFound
from callboard.ids import Ids, TenantId
from callboard_adapters.memory.state import State, TenantRows

Checkpoint = Callable[[str], Awaitable[None]]
"""Awaited with ``"before ledger.mark"``, ``"after ledger.mark"``, ``"before commit"``, ``"after commit"`` and so on."""

P = ParamSpec("P")
T = TypeVar("T")


async def no_checkpoint(moment: str) -> None:
    """Nothing happens between two port calls."""


@attrs.define(kw_only=True)
class Scope:
    """One open unit of work. ``clock`` plays the database's clock; ``open`` ends with the unit of work."""

    state: State
    clock: Clock
    ids: Ids
    checkpoint: Checkpoint
    open: bool = True

    def now(self) -> datetime:
        """The database's time."""
        return self.clock.now()

    def rows_of(self, tenant: TenantId) -> TenantRows:
        """One tenant's rows; NotFound for an unknown tenant."""
        found = self.state.tenants.get(tenant)
        if found is None:
            raise NotFound("No such tenant")
        return found


class Repository:
    """Bound to one open unit of work across tenants; ``name`` is its port in checkpoints."""

    name = ""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._state = scope.state


class TenantRepository(Repository):
    """The same, bound to one tenant: ``self._mine`` is everything it can reach of the tenant's own."""

    def __init__(self, scope: Scope, mine: TenantRows) -> None:
        super().__init__(scope)
        self._mine = mine
        self._tenant_id = mine.id


R = TypeVar("R", bound=Repository)


def port(method: Callable[Concatenate[R, P], T]) -> Callable[Concatenate[R, P], Coroutine[Any, Any, T]]:
    """Make a plain method the coroutine its port asks for: checkpoint, the whole effect at once, checkpoint.

    The body is synchronous, so nothing can happen in its middle. Used after its unit of work it raises RuntimeError.
    """

    @functools.wraps(method)
    async def call(self: R, /, *args: P.args, **kwargs: P.kwargs) -> T:
        scope = self._scope
        name = f"{self.name}.{method.__name__}"
        await scope.checkpoint(f"before {name}")
        if not scope.open:
            raise RuntimeError(f"{name} was called outside its unit of work")
        result = method(self, *args, **kwargs)
        await scope.checkpoint(f"after {name}")
        return result

    return call


__all__ = ["Checkpoint", "Repository", "Scope", "TenantRepository", "no_checkpoint", "port"]
