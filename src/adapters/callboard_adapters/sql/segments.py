"""Segments in SQL, and the set-based interpreter of criteria.

``compile_criteria`` means exactly what ``segments.rules.matches`` means: every leaf is true or false, never NULL,
so that NOT keeps its everyday sense. A property test holds the two equal.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    Uuid,
    and_,
    case,
    delete,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy import update as sql_update
from sqlalchemy.exc import IntegrityError

from callboard.contacts.model import Contact
from callboard.errors import AlreadyExists
from callboard.ids import ContactId, SegmentId, TenantId
from callboard.segments.model import (
    AgeBetween,
    AllOf,
    AnyOf,
    BirthdayOn,
    ConsentIs,
    CreatedBetween,
    Criteria,
    GenderIs,
    HasTag,
    MemberOf,
    Not,
    Segment,
    SegmentKind,
)
from callboard.segments.rules import SYSTEM_SEGMENTS, birthdays, born_between, dump_criteria, parse_criteria
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.contacts import to_contact
from callboard_adapters.sql.dialect import batches, insert_into
from callboard_adapters.sql.scope import Scope
from callboard_adapters.sql.tags import TAG_END, encode_tag

_SYSTEM_ORDER: Final = {key: n for n, (key, _, _) in enumerate(SYSTEM_SEGMENTS)}

c = t.contacts.c

_OPTED_IN: Final = c.consent == literal_column("'opted_in'")
"""A literal: neither database matches a partial index against a bound parameter."""


def compile_criteria(criteria: Criteria, *, today: date, sqlite: bool, tenant_id: TenantId) -> ColumnElement[bool]:
    """The criteria as a condition on ``tables.contacts``; ``today`` is the tenant's date.

    It says nothing about tenant, deletion or consent: put :func:`live` or :func:`eligible` beside it.
    """

    def compiled(part: Criteria) -> ColumnElement[bool]:
        match part:
            case GenderIs(gender=None):
                return c.gender.is_(None)
            case GenderIs(gender=gender):
                return and_(c.gender.is_not(None), c.gender == gender)
            case AgeBetween():
                earliest, latest = born_between(part, today)
                bounds: list[ColumnElement[bool]] = [c.birth_date.is_not(None)]
                bounds += [c.birth_date >= earliest] if earliest is not None else []
                bounds += [c.birth_date <= latest] if latest is not None else []
                return and_(*bounds)
            case HasTag(tags=tags):
                position = func.instr if sqlite else func.strpos
                wanted = (f"{TAG_END}{encode_tag(tag)}{TAG_END}" for tag in sorted(tags))
                return or_(false(), *(position(c.tags, text) > 0 for text in wanted))
            case CreatedBetween(after=after, before=before):
                since = true() if after is None else c.created_at >= after
                return and_(since, true() if before is None else c.created_at < before)
            case ConsentIs(consent=consent):
                return c.consent == consent
            case BirthdayOn(day=day):
                month_day = func.strftime("%m-%d", c.birth_date) if sqlite else func.to_char(c.birth_date, "MM-DD")
                kept = [f"{month:02}-{number:02}" for month, number in sorted(birthdays(day))]
                return and_(c.birth_date.is_not(None), month_day.in_(kept))
            case MemberOf(segment_id=segment_id):
                m = t.segment_members.c
                return c.id.in_(select(m.contact_id).where(m.tenant_id == tenant_id, m.segment_id == segment_id))
            case AllOf(parts=parts):
                return and_(true(), *map(compiled, parts))
            case AnyOf(parts=parts):
                return or_(false(), *map(compiled, parts))
            case Not(part=inner):
                return not_(compiled(inner))

    return compiled(criteria)


def live(tenant_id: TenantId) -> ColumnElement[bool]:
    """The tenant's contacts that are not deleted."""
    return and_(c.tenant_id == tenant_id, c.deleted_at.is_(None))


def reachable(tenant_id: TenantId) -> ColumnElement[bool]:
    """Live, with a phone, opted in: spelled like the predicate of ``ix_contacts_reachable``, so that it is used."""
    return and_(live(tenant_id), c.phone.is_not(None), _OPTED_IN)


def suppressed(tenant_id: TenantId) -> ColumnElement[bool]:
    """The contact's phone is on the tenant's suppression list."""
    s = t.suppressions.c
    return exists().where(s.tenant_id == tenant_id, s.phone == c.phone)


def eligible(tenant_id: TenantId) -> ColumnElement[bool]:
    """Who a campaign may freeze: reachable and not suppressed. Freeze, preview and counts all mean this."""
    return and_(reachable(tenant_id), not_(suppressed(tenant_id)))


def count_eligible(
    criteria: Sequence[Criteria], *, today: date, sqlite: bool, tenant_id: TenantId
) -> Select[tuple[Any, ...]]:
    """One row with one count of eligible contacts per criteria, labelled ``n0``, ``n1`` and so on.

    Reachable ones come from the covering partial index; the few that are suppressed all the same are counted apart
    from the suppression list and taken off, because asking every contact for its suppression would read every row.
    """
    conditions = [compile_criteria(x, today=today, sqlite=sqlite, tenant_id=tenant_id) for x in criteria]
    total = select(*(_count_if(x).label(f"n{n}") for n, x in enumerate(conditions)))
    s = t.suppressions.c
    met = total.select_from(t.contacts).where(reachable(tenant_id))
    if sqlite:  # without a reason to take the index by gender it walks the tenant's phones, three times slower
        parts = met.group_by(c.gender).subquery()
        met = select(*(func.coalesce(func.sum(part), 0).label(part.name) for part in parts.c))
    all_ = met.subquery()
    opted_in = and_(live(tenant_id), _OPTED_IN)
    if sqlite:
        listed = select(s.phone).where(s.tenant_id == tenant_id)
        out = total.select_from(t.contacts).where(opted_in, c.phone.in_(listed)).subquery()
    else:  # LATERAL … LIMIT 1 is a probe of the phone index per suppression; a hash join would read every contact
        probe = (
            select(*(case((x, 1), else_=0).label(f"n{n}") for n, x in enumerate(conditions)))
            .where(opted_in, c.phone == s.phone)
            .limit(1)
            .lateral()
        )
        sums = (func.coalesce(func.sum(x), 0).label(x.name) for x in probe.c)
        out = select(*sums).select_from(t.suppressions.join(probe, true())).where(s.tenant_id == tenant_id).subquery()
    return select(*((all_.c[f"n{n}"] - out.c[f"n{n}"]).label(f"n{n}") for n in range(len(conditions)))).select_from(
        all_.join(out, true())
    )


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(condition)


def to_segment(row: RowMapping) -> Segment:
    """A stored segment."""
    return Segment(
        id=SegmentId(row["id"]),
        key=row["key"],
        name=row["name"],
        kind=SegmentKind(row["kind"]),
        criteria=None if row["criteria"] is None else parse_criteria(json.loads(row["criteria"])),
        active=row["active"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _values(segment: Segment) -> dict[str, object]:
    criteria = segment.criteria
    return {
        "id": segment.id,
        "key": segment.key,
        "name": segment.name,
        "kind": segment.kind.value,
        "criteria": None if criteria is None else json.dumps(dump_criteria(criteria), ensure_ascii=False),
        "active": segment.active,
        "created_at": segment.created_at,
        "updated_at": segment.updated_at,
    }


class SqlSegments:
    """The tenant's segments and memberships."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._mine = t.segments.c.tenant_id == scope.tenant_id

    async def get(self, segment: SegmentId) -> Segment | None:
        found = await self._scope.connection.execute(select(t.segments).where(self._mine, t.segments.c.id == segment))
        row = found.mappings().first()
        return None if row is None else to_segment(row)

    async def list(self) -> builtins.list[Segment]:
        """System segments first in their fixed order, then custom ones by creation."""
        found = await self._scope.connection.execute(select(t.segments).where(self._mine))
        segments = [to_segment(row) for row in found.mappings()]
        return sorted(
            segments,
            key=lambda s: (
                s.kind is not SegmentKind.SYSTEM,
                _SYSTEM_ORDER.get(s.key, len(_SYSTEM_ORDER)) if s.kind is SegmentKind.SYSTEM else 0,
                s.created_at,
                s.id,
            ),
        )

    async def add_missing(self, segments: Sequence[Segment]) -> None:
        """Insert those whose key the tenant does not have."""
        if segments:
            statement = insert_into(t.segments, is_sqlite=self._scope.sqlite).on_conflict_do_nothing()
            tenant = {"tenant_id": self._scope.tenant_id}
            await self._scope.connection.execute(statement, [tenant | _values(segment) for segment in segments])

    async def add(self, segment: Segment) -> None:
        """AlreadyExists when the name is taken."""
        statement = (
            insert_into(t.segments, is_sqlite=self._scope.sqlite)
            .values(tenant_id=self._scope.tenant_id, **_values(segment))
            .on_conflict_do_nothing()
            .returning(t.segments.c.id)
        )
        if (await self._scope.connection.execute(statement)).first() is None:
            raise AlreadyExists("A segment has this name already", field="name")

    async def save(self, segment: Segment) -> None:
        """Replace the row; AlreadyExists when another one has the name."""
        statement = sql_update(t.segments).where(self._mine, t.segments.c.id == segment.id).values(_values(segment))
        try:
            async with self._scope.connection.begin_nested():
                await self._scope.connection.execute(statement)
        except IntegrityError:
            raise AlreadyExists("A segment has this name already", field="name") from None

    async def remove(self, segment: SegmentId) -> None:
        """With its memberships."""
        m = t.segment_members
        await self._scope.connection.execute(
            delete(m).where(m.c.tenant_id == self._scope.tenant_id, m.c.segment_id == segment)
        )
        await self._scope.connection.execute(delete(t.segments).where(self._mine, t.segments.c.id == segment))

    async def add_members(self, segment: SegmentId, contacts: Collection[ContactId]) -> int:
        """Those that exist and were not members yet."""
        m = t.segment_members
        tenant = self._scope.tenant_id
        added = 0
        for part in batches(contacts):
            rows = select(literal(tenant, Uuid()), literal(segment, Uuid()), c.id).where(
                live(tenant), c.id.in_(part), exists().where(self._mine, t.segments.c.id == segment)
            )
            statement = (
                insert_into(m, is_sqlite=self._scope.sqlite)
                .from_select(["tenant_id", "segment_id", "contact_id"], rows)
                .on_conflict_do_nothing()
                .returning(m.c.contact_id)
            )
            added += len((await self._scope.connection.execute(statement)).all())
        return added

    async def remove_members(self, segment: SegmentId, contacts: Collection[ContactId]) -> int:
        m = t.segment_members
        removed = 0
        for part in batches(contacts):
            statement = (
                delete(m)
                .where(m.c.tenant_id == self._scope.tenant_id, m.c.segment_id == segment, m.c.contact_id.in_(part))
                .returning(m.c.contact_id)
            )
            removed += len((await self._scope.connection.execute(statement)).all())
        return removed

    async def existing(self, contacts: Collection[ContactId]) -> frozenset[ContactId]:
        """Those ids that are live contacts of this tenant."""
        found: set[ContactId] = set()
        for part in batches(contacts):
            statement = select(c.id).where(live(self._scope.tenant_id), c.id.in_(part))
            found.update(ContactId(x) for x in (await self._scope.connection.execute(statement)).scalars())
        return frozenset(found)


class SqlAudiences:
    """The set-based interpreter of criteria over live contacts."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def _compiled(self, criteria: Criteria, today: date) -> ColumnElement[bool]:
        return compile_criteria(criteria, today=today, sqlite=self._scope.sqlite, tenant_id=self._scope.tenant_id)

    async def count(self, criteria: Criteria, *, today: date) -> int:
        """Live contacts that match."""
        statement = (
            select(func.count())
            .select_from(t.contacts)
            .where(live(self._scope.tenant_id), self._compiled(criteria, today))
        )
        return int((await self._scope.connection.execute(statement)).scalar_one())

    async def count_many(self, criteria: Mapping[str, Criteria], *, today: date) -> Mapping[str, int]:
        """Several counts in one pass over the contacts."""
        if not criteria:
            return {}
        columns = [_count_if(self._compiled(x, today)).label(f"n{n}") for n, x in enumerate(criteria.values())]
        statement = select(*columns).select_from(t.contacts).where(live(self._scope.tenant_id))
        row = (await self._scope.connection.execute(statement)).one()
        return dict(zip(criteria, row, strict=True))

    async def sample(self, criteria: Criteria, *, today: date, limit: int, offset: int = 0) -> list[Contact]:
        """Matching contacts ordered by id."""
        statement = (
            select(t.contacts)
            .where(live(self._scope.tenant_id), self._compiled(criteria, today))
            .order_by(c.id)
            .limit(limit)
            .offset(offset)
        )
        found = await self._scope.connection.execute(statement)
        return [to_contact(row) for row in found.mappings()]
