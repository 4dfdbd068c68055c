"""What segments need from a store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Protocol

from callboard.contacts.model import Contact
from callboard.ids import ContactId, SegmentId
from callboard.segments.model import Criteria, Segment
from callboard.tenants.model import Tenant


class Segments(Protocol):
    """The tenant's segments and memberships."""

    async def get(self, segment: SegmentId) -> Segment | None: ...

    async def list(self) -> list[Segment]:
        """System segments first in their fixed order, then custom ones by creation."""
        ...

    async def add_missing(self, segments: Sequence[Segment]) -> None:
        """Insert those whose key the tenant does not have; any number of racing callers leave one of each."""
        ...

    async def add(self, segment: Segment) -> None:
        """AlreadyExists when the name is taken."""
        ...

    async def save(self, segment: Segment) -> None: ...

    async def remove(self, segment: SegmentId) -> None:
        """With its memberships."""
        ...

    async def add_members(self, segment: SegmentId, contacts: Collection[ContactId]) -> int:
        """Those that exist and were not members yet; unknown ids are ignored by the store (the service checks)."""
        ...

    async def remove_members(self, segment: SegmentId, contacts: Collection[ContactId]) -> int: ...

    async def existing(self, contacts: Collection[ContactId]) -> frozenset[ContactId]:
        """Those ids that are live contacts of this tenant."""
        ...


class Audiences(Protocol):
    """The set-based interpreter of criteria; equal to ``segments.rules.matches`` on every contact."""

    async def count(self, criteria: Criteria, *, today: date) -> int:
        """Live contacts that match."""
        ...

    async def count_many(self, criteria: Mapping[str, Criteria], *, today: date) -> Mapping[str, int]:
        """Several counts in one pass over the contacts."""
        ...

    async def sample(self, criteria: Criteria, *, today: date, limit: int, offset: int = 0) -> list[Contact]:
        """Matching contacts ordered by id."""
        ...


class Reach(Protocol):
    """The part of the ledger a preview asks, so that preview and freeze are one query (``messages.ports.Ledger``)."""

    async def eligible(self, audience: Criteria, *, today: date) -> int:
        """How many messages a campaign to this audience would make now."""
        ...

    async def eligible_many(self, audiences: Mapping[str, Criteria], *, today: date) -> Mapping[str, int]:
        """Several of :meth:`eligible` in one pass over the contacts, by the caller's keys."""
        ...


class Work(Protocol):
    """One tenant's transaction."""

    @property
    def tenant(self) -> Tenant: ...
    @property
    def segments(self) -> Segments: ...
    @property
    def audiences(self) -> Audiences: ...
    @property
    def ledger(self) -> Reach: ...
