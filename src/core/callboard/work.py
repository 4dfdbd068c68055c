"""The unit of work: one transaction, one tenant, every repository bound to both."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from callboard.ids import TenantId

W_co = TypeVar("W_co", covariant=True)


class OpenWork(Protocol[W_co]):
    """``async with work(tenant) as w``: leaving commits, raising rolls everything back.

    Each context names in its ``ports.Work`` the repositories it needs; one adapter object has them all.
    An unknown tenant raises :class:`callboard.errors.NotFound`.
    """

    def __call__(self, tenant: TenantId) -> AbstractAsyncContextManager[W_co]: ...


class OpenSystemWork(Protocol[W_co]):
    """``async with system() as s``: the same, across tenants; only for relays, claims and look-ups by secret."""

    def __call__(self) -> AbstractAsyncContextManager[W_co]: ...
