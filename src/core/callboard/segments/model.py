"""The criteria tree and the segments that name one."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

import attrs

from callboard.contacts.model import Consent, Gender
from callboard.ids import SegmentId


@attrs.frozen(kw_only=True)
class GenderIs:
    """None means "unknown"."""

    gender: Gender | None


@attrs.frozen(kw_only=True)
class AgeBetween:
    """Exact age on the tenant's today, both ends inclusive; contacts without a birth date never match."""

    gte: int | None = None
    lte: int | None = None


@attrs.frozen(kw_only=True)
class HasTag:
    """Has at least one of the tags, compared exactly."""

    tags: frozenset[str]


@attrs.frozen(kw_only=True)
class CreatedBetween:
    """Created at or after ``after`` and before ``before`` (UTC)."""

    after: datetime | None = None
    before: datetime | None = None


@attrs.frozen(kw_only=True)
class ConsentIs:
    """What the contact said about marketing."""

    consent: Consent


@attrs.frozen(kw_only=True)
class BirthdayOn:
    """Born on this day of the year (29 February counts as 28 February in other years)."""

    day: date


@attrs.frozen(kw_only=True)
class MemberOf:
    """Listed in a custom segment's membership."""

    segment_id: SegmentId


@attrs.frozen(kw_only=True)
class AllOf:
    """Every part matches; empty means everybody."""

    parts: tuple[Criteria, ...] = ()


@attrs.frozen(kw_only=True)
class AnyOf:
    """At least one part matches; empty means nobody."""

    parts: tuple[Criteria, ...] = ()


@attrs.frozen(kw_only=True)
class Not:
    """The part does not match."""

    part: Criteria


Criteria = GenderIs | AgeBetween | HasTag | CreatedBetween | ConsentIs | BirthdayOn | MemberOf | AllOf | AnyOf | Not
EVERYBODY = AllOf()


class SegmentKind(StrEnum):
    """System segments are made by us for every tenant; custom ones by people."""

    SYSTEM = "system"
    CUSTOM = "custom"


@attrs.frozen(kw_only=True)
class Segment:
    """A named audience. A custom segment without ``criteria`` is its member list."""

    id: SegmentId
    key: str
    name: str
    kind: SegmentKind
    criteria: Criteria | None
    active: bool = True
    created_at: datetime
    updated_at: datetime

    @property
    def resolved(self) -> Criteria:
        """The criteria that decide membership."""
        return self.criteria if self.criteria is not None else MemberOf(segment_id=self.id)
