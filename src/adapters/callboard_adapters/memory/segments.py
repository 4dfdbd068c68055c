"""Segments, their members, and the interpreter of criteria that is the core's own predicate."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date

from callboard.contacts.model import Contact
from callboard.errors import AlreadyExists
from callboard.ids import ContactId, SegmentId
from callboard.segments.model import Criteria, Segment, SegmentKind
from callboard.segments.rules import SYSTEM_SEGMENTS, matches
from callboard_adapters.memory.scope import TenantRepository, port
from callboard_adapters.memory.state import TenantRows

_ORDER = {key: n for n, (key, _, _) in enumerate(SYSTEM_SEGMENTS)}


class MemorySegments(TenantRepository):
    """Segments by id, unique by key and by name; members beside them."""

    name = "segments"

    @port
    def get(self, segment: SegmentId) -> Segment | None:
        return self._mine.segments.get(segment)

    @port
    def list(self) -> builtins.list[Segment]:
        return sorted(
            self._mine.segments.values(),
            key=lambda s: (
                s.kind is not SegmentKind.SYSTEM,
                _ORDER.get(s.key, len(_ORDER)) if s.kind is SegmentKind.SYSTEM else 0,
                s.created_at,
                s.id,
            ),
        )

    @port
    def add_missing(self, segments: Sequence[Segment]) -> None:
        keys = {segment.key for segment in self._mine.segments.values()}
        for segment in segments:
            if segment.key not in keys:
                keys.add(segment.key)
                self._mine.segments.put(segment.id, segment)

    @port
    def add(self, segment: Segment) -> None:
        self._refuse_taken_name(segment)
        self._mine.segments.put(segment.id, segment)

    @port
    def save(self, segment: Segment) -> None:
        if segment.id in self._mine.segments:
            self._refuse_taken_name(segment)
            self._mine.segments.put(segment.id, segment)

    @port
    def remove(self, segment: SegmentId) -> None:
        self._mine.segments.drop(segment)
        self._mine.members.drop(segment)

    @port
    def add_members(self, segment: SegmentId, contacts: Collection[ContactId]) -> int:
        if segment not in self._mine.segments:
            return 0
        before = self._mine.members.get(segment, frozenset())
        new = self._existing(contacts) - before
        self._mine.members.put(segment, before | new)
        return len(new)

    @port
    def remove_members(self, segment: SegmentId, contacts: Collection[ContactId]) -> int:
        before = self._mine.members.get(segment, frozenset())
        gone = before.intersection(contacts)
        if gone:
            self._mine.members.put(segment, before - gone)
        return len(gone)

    @port
    def existing(self, contacts: Collection[ContactId]) -> frozenset[ContactId]:
        return self._existing(contacts)

    def _existing(self, contacts: Collection[ContactId]) -> frozenset[ContactId]:
        mine = self._mine.contacts
        return frozenset(c for c in contacts if c in mine and mine[c].deleted_at is None)

    def _refuse_taken_name(self, segment: Segment) -> None:
        for other in self._mine.segments.values():
            if other.id != segment.id and (other.name == segment.name or other.key == segment.key):
                raise AlreadyExists("A segment of that name exists", field="name")


class MemoryAudiences(TenantRepository):
    """Counts and samples of live contacts."""

    name = "audiences"

    @port
    def count(self, criteria: Criteria, *, today: date) -> int:
        return sum(1 for _ in meant(self._mine, criteria, today=today))

    @port
    def count_many(self, criteria: Mapping[str, Criteria], *, today: date) -> Mapping[str, int]:
        return {key: sum(1 for _ in meant(self._mine, one, today=today)) for key, one in criteria.items()}

    @port
    def sample(self, criteria: Criteria, *, today: date, limit: int, offset: int = 0) -> list[Contact]:
        found = sorted(meant(self._mine, criteria, today=today), key=lambda contact: contact.id)
        return found[offset : offset + limit]


def meant(mine: TenantRows, criteria: Criteria, *, today: date) -> Iterator[Contact]:
    """Live contacts that match."""
    return (
        contact
        for contact in mine.contacts.values()
        if contact.deleted_at is None and matches(criteria, contact, today=today, members=mine.members)
    )
