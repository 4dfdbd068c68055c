"""Segments on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from callboard.segments.model import Segment, SegmentKind
from callboard.segments.rules import dump_criteria
from callboard_adapters.http.surfaces.store.wire.common import Camel, Pagination
from callboard_adapters.http.surfaces.store.wire.contacts import ContactOut

SegmentName = Annotated[str, Meta(min_length=1, max_length=100)]
Ids = Annotated[list[str], Meta(max_length=10_000)]


class SegmentIn(Camel):
    """``POST /audiences/segments``: a rule (``criteria``) or a list (``contactIds``)."""

    name: SegmentName
    criteria: dict[str, Any] | None = None
    contact_ids: Ids | None = None


class SegmentPatch(Camel):
    """``PUT /audiences/segments/:id``."""

    name: SegmentName | UnsetType = UNSET
    criteria: dict[str, Any] | UnsetType | None = UNSET
    is_active: bool | UnsetType = UNSET


class MembersIn(Camel):
    """Contacts to put on a list or to take off it."""

    contact_ids: Annotated[list[str], Meta(min_length=1, max_length=10_000)]


class SegmentOut(Camel):
    """A segment; ``criteriaJson`` is ``criteria``, ``estimatedCount`` what a campaign to it would send now."""

    id: str
    key: str
    name: str
    type: SegmentKind
    criteria: dict[str, Any] | None
    criteria_json: dict[str, Any] | None
    is_active: bool
    estimated_count: int
    created_at: datetime
    updated_at: datetime


class SegmentsOut(Camel):
    """All segments; ``items`` is ``segments``."""

    segments: list[SegmentOut]
    items: list[SegmentOut]
    total: int


class SegmentPreviewOut(Camel):
    """How many messages a campaign to the segment would send now."""

    segment_id: str
    estimated_count: int


class MembersOut(Camel):
    """A page of a segment's members."""

    contacts: list[ContactOut]
    items: list[ContactOut]
    total: int
    page: int
    page_size: int
    pagination: Pagination


class MembersChanged(Camel):
    """How many were put on the list or taken off it."""

    segment_id: str
    added: int = 0
    removed: int = 0


def segment_out(segment: Segment, count: int) -> SegmentOut:
    """A segment with its count as this surface prints it."""
    criteria = None if segment.criteria is None else dump_criteria(segment.criteria)
    return SegmentOut(
        id=str(segment.id),
        key=segment.key,
        name=segment.name,
        type=segment.kind,
        criteria=criteria,
        criteria_json=criteria,
        is_active=segment.active,
        estimated_count=count,
        created_at=segment.created_at,
        updated_at=segment.updated_at,
    )
