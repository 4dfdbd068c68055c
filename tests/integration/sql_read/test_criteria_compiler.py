"""The SQL compiler of criteria means what the core's predicate means, on any contact and any tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, insert, select

from callboard.contacts.model import Consent, Contact, Gender
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
)
from callboard.segments.rules import matches
from callboard.values import Phone
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.contacts import _values
from callboard_adapters.sql.segments import compile_criteria, live
from callboard_adapters.sql.tags import join_tags, split_tags

TENANT, OTHER = TenantId(UUID(int=1)), TenantId(UUID(int=2))
SEGMENTS = [SegmentId(UUID(int=n)) for n in (11, 12)]
TIMES = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=n) for n in range(4)]

tags = st.sampled_from(["vip", "VIP", "vi", "p", "new customer", "a\x1fb", "b", "\x1e", "é", "%", "_", "'"])
days = st.one_of(
    st.dates(date(1930, 1, 1), date(2026, 12, 31)),
    st.builds(
        lambda year, month_day: date(year, *month_day) if month_day != (2, 29) or year % 4 == 0 else date(year, 2, 28),
        st.sampled_from([1996, 1999, 2000, 2004, 2007, 2008]),
        st.sampled_from([(2, 28), (2, 29), (3, 1), (1, 1), (12, 31)]),
    ),
)
contacts = st.builds(
    Contact,
    id=st.uuids(version=4).map(ContactId),
    phone=st.none() | st.integers(0, 99_999_999).map(lambda n: Phone(f"+9198{n:08}")),
    gender=st.none() | st.sampled_from(Gender),
    birth_date=st.none() | days,
    tags=st.frozensets(tags, max_size=3),
    consent=st.sampled_from(Consent),
    created_at=st.sampled_from(TIMES),
    updated_at=st.just(TIMES[0]),
)
ages = st.none() | st.integers(0, 150)
leaves: st.SearchStrategy[Criteria] = st.one_of(
    st.builds(GenderIs, gender=st.none() | st.sampled_from(Gender)),
    st.builds(AgeBetween, gte=ages, lte=ages),
    st.builds(HasTag, tags=st.frozensets(tags, max_size=3)),
    st.builds(CreatedBetween, after=st.none() | st.sampled_from(TIMES), before=st.none() | st.sampled_from(TIMES)),
    st.builds(ConsentIs, consent=st.sampled_from(Consent)),
    st.builds(BirthdayOn, day=days),
    st.builds(MemberOf, segment_id=st.sampled_from(SEGMENTS)),
)
trees: st.SearchStrategy[Criteria] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, part=inner),
        st.builds(AllOf, parts=st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, parts=st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def sqlite_connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    t.metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture(scope="module")
def pg_connection(new_pg_url: Callable[[], str]) -> Iterator[Connection]:
    engine: Engine = create_engine(new_pg_url())
    t.metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def check(
    connection: Connection,
    people: list[Contact],
    members: dict[SegmentId, set[ContactId]],
    criteria: list[Criteria],
    today: date,
) -> None:
    sqlite = connection.dialect.name == "sqlite"
    nested = connection.begin()
    try:
        rows = [{"tenant_id": TENANT, **_values(person)} for person in people]
        connection.execute(insert(t.contacts), rows)
        for segment, ids in members.items():
            for contact in ids:
                row: dict[str, Any] = {"tenant_id": TENANT, "segment_id": segment, "contact_id": contact}
                connection.execute(insert(t.segment_members), row)
        for tree in criteria:
            compiled = compile_criteria(tree, today=today, sqlite=sqlite, tenant_id=TENANT)
            found = connection.execute(select(t.contacts.c.id).where(live(TENANT), compiled)).scalars().all()
            wanted = {p.id for p in people if matches(tree, p, today=today, members=members)}
            assert set(found) == wanted, tree
            # two-valued: what does not match matches the negation
            negated = compile_criteria(Not(part=tree), today=today, sqlite=sqlite, tenant_id=TENANT)
            rest = connection.execute(select(t.contacts.c.id).where(live(TENANT), negated)).scalars().all()
            assert set(rest) == {p.id for p in people} - wanted, tree
    finally:
        nested.rollback()


worlds = st.lists(contacts, min_size=1, max_size=6, unique_by=(lambda c: c.id, lambda c: c.phone or c.id))


@st.composite
def memberships(draw: st.DrawFn, people: list[Contact]) -> dict[SegmentId, set[ContactId]]:
    ids = [person.id for person in people]
    return {segment: set(draw(st.lists(st.sampled_from(ids), max_size=3))) for segment in SEGMENTS}


@given(st.data(), worlds, st.lists(trees, min_size=1, max_size=4), days)
def test_compiled_criteria_are_the_predicate_on_sqlite(
    sqlite_connection: Connection, data: st.DataObject, people: list[Contact], criteria: list[Criteria], today: date
) -> None:
    check(sqlite_connection, people, data.draw(memberships(people)), criteria, today)


@settings(max_examples=25)
@given(st.data(), worlds, st.lists(trees, min_size=1, max_size=4), days)
def test_compiled_criteria_are_the_predicate_on_postgresql(
    pg_connection: Connection, data: st.DataObject, people: list[Contact], criteria: list[Criteria], today: date
) -> None:
    check(pg_connection, people, data.draw(memberships(people)), criteria, today)


@given(st.frozensets(st.text(max_size=5)))
def test_tags_are_stored_and_read_back(given_tags: frozenset[str]) -> None:
    assert split_tags(join_tags(given_tags)) == given_tags


def test_members_of_another_tenants_list_are_nobody(sqlite_connection: Connection) -> None:
    person = Contact(id=ContactId(UUID(int=5)), phone=None, created_at=TIMES[0], updated_at=TIMES[0])
    transaction = sqlite_connection.begin()
    sqlite_connection.execute(insert(t.contacts), {"tenant_id": TENANT, **_values(person)})
    row = {"tenant_id": OTHER, "segment_id": SEGMENTS[0], "contact_id": person.id}
    sqlite_connection.execute(insert(t.segment_members), row)
    compiled = compile_criteria(MemberOf(segment_id=SEGMENTS[0]), today=date(2026, 1, 1), sqlite=True, tenant_id=TENANT)
    assert sqlite_connection.execute(select(t.contacts.c.id).where(live(TENANT), compiled)).all() == []
    transaction.rollback()
