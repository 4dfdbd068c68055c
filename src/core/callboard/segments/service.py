"""Segments as people work with them: listed, counted, made, edited, filled."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import attrs

from callboard.clock import Clock, local_date
from callboard.contacts.model import Consent, Contact
from callboard.errors import Conflict, InvalidInput, NotFound
from callboard.ids import ContactId, Ids, SegmentId, TenantId
from callboard.paging import Page, PageRequest
from callboard.segments import rules
from callboard.segments.model import EVERYBODY, AllOf, ConsentIs, Criteria, Segment, SegmentKind
from callboard.segments.ports import Work
from callboard.values import clean_text
from callboard.work import OpenWork

MAX_NAME: Final = 100
MAX_CONTACTS: Final = 10_000

Segments = list[Segment]
Counted = list[tuple[Segment, int]]


@attrs.frozen(kw_only=True)
class SegmentService:
    """Segments of one tenant at a time; a count is always what a campaign to the segment would send now."""

    work: OpenWork[Work]
    clock: Clock
    ids: Ids

    async def list(self, tenant: TenantId) -> Segments:
        """All segments; the system ones are made on the first call, by however many callers at once."""
        async with self.work(tenant) as w:
            return await self._all(w)

    async def list_counted(self, tenant: TenantId) -> Counted:
        """All segments with the number of messages a campaign to each would send now."""
        async with self.work(tenant) as w:
            segments = await self._all(w)
            wanted = {str(segment.id): segment.resolved for segment in segments}
            today = local_date(self.clock.now(), w.tenant.timezone)
            counts = await w.ledger.eligible_many(wanted, today=today)
            return [(segment, counts[str(segment.id)]) for segment in segments]

    async def get(self, tenant: TenantId, segment: SegmentId) -> Segment:
        """NotFound when it is unknown or somebody else's."""
        async with self.work(tenant) as w:
            return _found(await w.segments.get(segment))

    async def preview(self, tenant: TenantId, segment: SegmentId) -> int:
        """How many messages a campaign to the segment would send now: the ledger's own count (decision 6)."""
        async with self.work(tenant) as w:
            found = _found(await w.segments.get(segment))
            return await w.ledger.eligible(found.resolved, today=local_date(self.clock.now(), w.tenant.timezone))

    async def preview_criteria(self, tenant: TenantId, criteria: Criteria) -> int:
        """The same for criteria that are not saved yet."""
        async with self.work(tenant) as w:
            await _check_criteria(w, criteria)
            return await w.ledger.eligible(criteria, today=local_date(self.clock.now(), w.tenant.timezone))

    async def members(
        self, tenant: TenantId, segment: SegmentId, page: PageRequest, *, reachable: bool = False
    ) -> Page[Contact]:
        """Live contacts that match, by id; with ``reachable`` only those who opted in."""
        async with self.work(tenant) as w:
            criteria = _found(await w.segments.get(segment)).resolved
            if reachable:
                criteria = AllOf(parts=(criteria, ConsentIs(consent=Consent.OPTED_IN)))
            today = local_date(self.clock.now(), w.tenant.timezone)
            total = await w.audiences.count(criteria, today=today)
            items = await w.audiences.sample(criteria, today=today, limit=page.size, offset=page.offset)
            return Page(items=tuple(items), total=total, request=page)

    async def create(
        self,
        tenant: TenantId,
        name: str,
        *,
        criteria: Criteria | None = None,
        contacts: Collection[ContactId] | None = None,
    ) -> Segment:
        """A custom segment, either by rule or as a list. AlreadyExists for the name; NotFound for unknown contacts."""
        if (criteria is None) == (contacts is None):
            raise InvalidInput("Give either criteria or contactIds", field="criteria")
        now = self.clock.now()
        segment_id = SegmentId(self.ids.new())
        segment = Segment(
            id=segment_id,
            key=f"custom_{segment_id.hex}",
            name=clean_text(name, field="name", max_length=MAX_NAME, min_length=1),
            kind=SegmentKind.CUSTOM,
            criteria=criteria,
            created_at=now,
            updated_at=now,
        )
        async with self.work(tenant) as w:
            if criteria is not None:
                await _check_criteria(w, criteria)
            await w.segments.add(segment)
            if contacts:
                await _check_contacts(w, contacts)
                await w.segments.add_members(segment.id, contacts)
        return segment

    async def update(
        self,
        tenant: TenantId,
        segment: SegmentId,
        *,
        name: str | None = None,
        criteria: Criteria | None = None,
        active: bool | None = None,
    ) -> Segment:
        """Change what is given. Conflict for a system segment and for giving a rule to a list."""
        async with self.work(tenant) as w:
            found = _custom(await w.segments.get(segment))
            if criteria is not None:
                if found.criteria is None:
                    raise Conflict("This segment is a list of contacts, not a rule")
                await _check_criteria(w, criteria)
            changed = attrs.evolve(
                found,
                name=found.name if name is None else clean_text(name, field="name", max_length=MAX_NAME, min_length=1),
                criteria=found.criteria if criteria is None else criteria,
                active=found.active if active is None else active,
            )
            if changed != found:
                changed = attrs.evolve(changed, updated_at=self.clock.now())
                await w.segments.save(changed)
            return changed

    async def delete(self, tenant: TenantId, segment: SegmentId) -> None:
        """Conflict for a system segment and for a list that another segment's rule uses."""
        async with self.work(tenant) as w:
            found = _custom(await w.segments.get(segment))
            for other in await w.segments.list():
                if other.criteria is not None and found.id in rules.lists_used(other.criteria):
                    raise Conflict("Another segment uses this list", segment=str(other.id))
            await w.segments.remove(found.id)

    async def add_members(self, tenant: TenantId, segment: SegmentId, contacts: Collection[ContactId]) -> int:
        """Put contacts on the list; how many were not on it. NotFound when one is unknown: then none is added."""
        async with self.work(tenant) as w:
            found = _member_list(await w.segments.get(segment))
            await _check_contacts(w, contacts)
            return await w.segments.add_members(found.id, contacts)

    async def remove_members(self, tenant: TenantId, segment: SegmentId, contacts: Collection[ContactId]) -> int:
        """Take contacts off the list; how many were on it. Others are ignored: they are off it."""
        if len(contacts) > MAX_CONTACTS:
            raise InvalidInput(f"At most {MAX_CONTACTS:,} contacts at once", field="contactIds")
        async with self.work(tenant) as w:
            found = _member_list(await w.segments.get(segment))
            return await w.segments.remove_members(found.id, contacts)

    async def _all(self, w: Work) -> Segments:
        there = await w.segments.list()
        keys = {segment.key for segment in there}
        missing = [row for row in rules.SYSTEM_SEGMENTS if row[0] not in keys]
        if not missing:
            return there
        now = self.clock.now()
        await w.segments.add_missing(
            [
                Segment(
                    id=SegmentId(self.ids.new()),
                    key=key,
                    name=name,
                    kind=SegmentKind.SYSTEM,
                    criteria=criteria,
                    created_at=now,
                    updated_at=now,
                )
                for key, name, criteria in missing
            ]
        )
        return await w.segments.list()


async def _check_criteria(w: Work, criteria: Criteria) -> None:
    """Refuse a rule that means everybody by saying nothing, and one about a list that is not this tenant's."""
    if criteria == EVERYBODY:
        raise InvalidInput("Must not be empty", field="criteria")
    for segment_id in rules.lists_used(criteria):
        if _found(await w.segments.get(segment_id)).criteria is not None:
            raise InvalidInput("Only a list of contacts can be part of a rule", field="criteria.segmentId")


async def _check_contacts(w: Work, contacts: Collection[ContactId]) -> None:
    if len(contacts) > MAX_CONTACTS:
        raise InvalidInput(f"At most {MAX_CONTACTS:,} contacts at once", field="contactIds")
    wanted = frozenset(contacts)
    if await w.segments.existing(wanted) != wanted:
        raise NotFound("Contact not found")


def _found(segment: Segment | None) -> Segment:
    if segment is None:
        raise NotFound("Segment not found")
    return segment


def _custom(segment: Segment | None) -> Segment:
    found = _found(segment)
    if found.kind is not SegmentKind.CUSTOM:
        raise Conflict("System segments cannot be changed")
    return found


def _member_list(segment: Segment | None) -> Segment:
    found = _custom(segment)
    if found.criteria is not None:
        raise Conflict("This segment is a rule: its members follow from it")
    return found
