"""Segments, memberships, and the set-based interpreter of criteria."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.builders import a_segment
from tests.contract.world import TODAY, World, answers, phone, together

from callboard.contacts.model import Consent, Contact, Gender, Suppression
from callboard.errors import AlreadyExists
from callboard.ids import ContactId, SegmentId
from callboard.segments.model import (
    EVERYBODY,
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
    SegmentKind,
)
from callboard.segments.rules import SYSTEM_SEGMENTS, matches
from callboard.values import Phone

CREATED = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def test_a_segment_is_stored_whole(world: World) -> None:
    tenant = await world.tenant()
    criteria = AllOf(
        parts=(
            AnyOf(parts=(GenderIs(gender=None), HasTag(tags=frozenset({"a b", "ü"})))),
            Not(part=AgeBetween(gte=18)),
            CreatedBetween(after=CREATED),
            BirthdayOn(day=date(2024, 2, 29)),
            ConsentIs(consent=Consent.UNKNOWN),
            MemberOf(segment_id=SegmentId(world.ids.new())),
        )
    )
    ruled, listed = a_segment(world, "Ruled", criteria=criteria), a_segment(world, "Listed", active=False)
    async with world.work(tenant) as w:
        await w.segments.add(ruled)
        await w.segments.add(listed)
    async with world.work(tenant) as w:
        assert await w.segments.get(ruled.id) == ruled
        assert await w.segments.get(listed.id) == listed
        assert await w.segments.get(SegmentId(world.ids.new())) is None


async def test_a_name_is_taken_once(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        await w.segments.add(a_segment(world, "VIPs"))
    with pytest.raises(AlreadyExists):
        async with world.work(tenant) as w:
            await w.segments.add(a_segment(world, "VIPs", key="other"))


async def test_saving_and_removing(world: World) -> None:
    tenant = await world.tenant()
    segment = a_segment(world)
    people = await world.people(tenant, 2)
    after = attrs.evolve(segment, name="New", criteria=GenderIs(gender=Gender.MALE), active=False)
    async with world.work(tenant) as w:
        await w.segments.add(segment)
        await w.segments.add_members(segment.id, [p.id for p in people])
        await w.segments.save(after)
        assert await w.segments.get(segment.id) == after
        await w.segments.remove(segment.id)
        assert await w.segments.get(segment.id) is None
        assert await w.audiences.count(MemberOf(segment_id=segment.id), today=TODAY) == 0
        await w.segments.add(segment)
        assert await w.audiences.count(MemberOf(segment_id=segment.id), today=TODAY) == 0


async def test_system_segments_first_in_their_order_then_custom_by_creation(world: World) -> None:
    tenant = await world.tenant()
    now = world.now()
    system = [
        a_segment(world, name, key=key, kind=SegmentKind.SYSTEM, criteria=criteria, created_at=now)
        for key, name, criteria in SYSTEM_SEGMENTS
    ]
    custom = [a_segment(world, f"Z{n}", created_at=now - timedelta(hours=n)) for n in (2, 3, 1)]
    async with world.work(tenant) as w:
        for segment in custom:
            await w.segments.add(segment)
        await w.segments.add_missing(system)
    async with world.work(tenant) as w:
        assert await w.segments.list() == [*system, custom[1], custom[0], custom[2]]


async def test_racing_for_the_missing_leaves_one_of_each(world: World) -> None:
    tenant = await world.tenant()

    async def ensure() -> None:
        async with world.work(tenant) as w:
            await w.segments.add_missing(
                [
                    a_segment(world, name, key=key, kind=SegmentKind.SYSTEM, criteria=criteria)
                    for key, name, criteria in SYSTEM_SEGMENTS
                ]
            )

    answers(await together(*(ensure() for _ in range(5))))
    async with world.work(tenant) as w:
        assert [s.key for s in await w.segments.list()] == [key for key, _, _ in SYSTEM_SEGMENTS]


async def test_members_are_counted_as_they_come_and_go(world: World) -> None:
    tenant = await world.tenant()
    people = [p.id for p in await world.people(tenant, 3)]
    segment = a_segment(world)
    async with world.work(tenant) as w:
        await w.segments.add(segment)
        assert await w.segments.add_members(segment.id, people[:2]) == 2
        assert await w.segments.add_members(segment.id, [*people, ContactId(world.ids.new())]) == 1
        assert await w.segments.add_members(segment.id, []) == 0
        assert await w.segments.remove_members(segment.id, [people[0], ContactId(world.ids.new())]) == 1
        assert await w.segments.remove_members(segment.id, [people[0]]) == 0
        assert await w.segments.remove_members(segment.id, []) == 0
        found = await w.audiences.sample(segment.resolved, today=TODAY, limit=10)
        assert [c.id for c in found] == sorted(people[1:])


async def test_existing_are_live_contacts(world: World) -> None:
    tenant = await world.tenant()
    one, two = await world.people(tenant, 2)
    async with world.work(tenant) as w:
        await w.contacts.save(attrs.evolve(two, deleted_at=world.now()))
        assert await w.segments.existing([one.id, two.id, ContactId(world.ids.new())]) == {one.id}
        assert await w.segments.existing([]) == frozenset()


async def test_samples_are_pages_by_id(world: World) -> None:
    tenant = await world.tenant()
    people = sorted(await world.people(tenant, 7), key=lambda c: c.id)
    async with world.work(tenant) as w:
        assert await w.audiences.sample(EVERYBODY, today=TODAY, limit=3) == people[:3]
        assert await w.audiences.sample(EVERYBODY, today=TODAY, limit=3, offset=3) == people[3:6]
        assert await w.audiences.sample(EVERYBODY, today=TODAY, limit=3, offset=9) == []
        assert await w.audiences.sample(AnyOf(), today=TODAY, limit=3) == []


async def test_counts_of_nothing(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        assert await w.audiences.count(EVERYBODY, today=TODAY) == 0
        assert await w.audiences.count_many({}, today=TODAY) == {}
        assert await w.ledger.eligible_many({}, today=TODAY) == {}
        assert await w.audiences.count_many({"a": EVERYBODY, "b": AnyOf()}, today=TODAY) == {"a": 0, "b": 0}


# --- preview = count = freeze = the predicate ---------------------------------------------------------------------

BIRTHS = st.dates(date(1920, 1, 1), date(2026, 3, 1)) | st.sampled_from(
    [date(2008, 2, 29), date(2008, 3, 1), date(2008, 2, 28), date(2001, 3, 1), date(2001, 3, 2), date(1971, 3, 1)]
)
TAGS = st.sampled_from(["x", "y", "X", "x y", "%", "_", "ü"])
DAYS = st.sampled_from([date(2026, 3, 1), date(2026, 2, 28), date(2024, 2, 29), date(2024, 2, 28), date(2025, 12, 31)])
MOMENTS = st.sampled_from([CREATED + timedelta(hours=n) for n in range(-2, 3)])
LEAVES: st.SearchStrategy[Criteria] = st.one_of(
    st.builds(GenderIs, gender=st.none() | st.sampled_from(Gender)),
    st.builds(AgeBetween, gte=st.none() | st.integers(0, 60), lte=st.none() | st.integers(17, 120)),
    st.builds(HasTag, tags=st.frozensets(TAGS, min_size=1, max_size=3)),
    st.builds(CreatedBetween, after=st.none() | MOMENTS, before=st.none() | MOMENTS),
    st.builds(ConsentIs, consent=st.sampled_from(Consent)),
    st.builds(BirthdayOn, day=DAYS),
    st.builds(MemberOf, segment_id=st.just("members")),
)
TREES: st.SearchStrategy[Criteria] = st.recursive(
    LEAVES,
    lambda parts: st.one_of(
        st.builds(AllOf, parts=st.lists(parts, max_size=3).map(tuple)),
        st.builds(AnyOf, parts=st.lists(parts, max_size=3).map(tuple)),
        st.builds(Not, part=parts),
    ),
    max_leaves=6,
)
PEOPLE = st.lists(
    st.fixed_dictionaries(
        {
            "gender": st.none() | st.sampled_from(Gender),
            "birth_date": st.none() | BIRTHS,
            "tags": st.frozensets(TAGS, max_size=3),
            "consent": st.sampled_from(Consent) | st.just(Consent.OPTED_IN),
            "created_at": MOMENTS,
        }
    ),
    min_size=3,
    max_size=10,
)


def bound(criteria: Criteria, segment: SegmentId) -> Criteria:
    """The tree with its one custom segment named."""
    match criteria:
        case MemberOf():
            return MemberOf(segment_id=segment)
        case AllOf(parts=parts):
            return AllOf(parts=tuple(bound(part, segment) for part in parts))
        case AnyOf(parts=parts):
            return AnyOf(parts=tuple(bound(part, segment) for part in parts))
        case Not(part=part):
            return Not(part=bound(part, segment))
    return criteria


@given(
    people=PEOPLE,
    trees=st.lists(TREES, min_size=1, max_size=4),
    members=st.frozensets(st.integers(0, 9)),
    phoneless=st.frozensets(st.integers(0, 9), max_size=2),
    deleted=st.frozensets(st.integers(0, 9), max_size=2),
    suppressed=st.frozensets(st.integers(0, 9), max_size=2),
    today=DAYS,
)
@settings(max_examples=25)
async def test_count_sample_eligible_and_freeze_are_the_predicate(
    world: World,
    people: list[dict[str, object]],
    trees: list[Criteria],
    members: frozenset[int],
    phoneless: frozenset[int],
    deleted: frozenset[int],
    suppressed: frozenset[int],
    today: date,
) -> None:
    tenant, stranger = await world.tenant(), await world.tenant()
    await world.people(stranger, 2)
    segment = a_segment(world)
    contacts: list[Contact] = []
    async with world.work(tenant) as w:
        await w.segments.add(segment)
        for n, fields in enumerate(people):
            given_phone = None if n in phoneless else Phone(phone(n))
            contact = world.a_contact(n, **(fields | {"phone": given_phone}))
            await w.contacts.add(contact)
            contacts.append(contact)
        await w.segments.add_members(segment.id, [c.id for n, c in enumerate(contacts) if n in members])
        for n in suppressed:
            await w.contacts.suppress(Suppression(phone=phone(n), reason="x", at=world.now()))
        for n in deleted:
            if n < len(contacts):
                contacts[n] = attrs.evolve(contacts[n], deleted_at=world.now())
                await w.contacts.save(contacts[n])
    lists = {segment.id: frozenset(c.id for n, c in enumerate(contacts) if n in members)}
    for tree in (bound(tree, segment.id) for tree in trees):
        meant = [
            (n, c) for n, c in enumerate(contacts) if n not in deleted and matches(tree, c, today=today, members=lists)
        ]
        reached = {phone(n) for n, c in meant if c.phone and c.consent is Consent.OPTED_IN and n not in suppressed}
        run = world.a_run(tenant)
        async with world.work(tenant) as w:
            assert await w.audiences.count(tree, today=today) == len(meant)
            assert await w.audiences.count_many({"a": tree, "all": EVERYBODY}, today=today) == {
                "a": len(meant),
                "all": len([n for n in range(len(contacts)) if n not in deleted]),
            }
            found = await w.audiences.sample(tree, today=today, limit=100)
            assert found == sorted((c for _, c in meant), key=lambda c: c.id)
            assert await w.ledger.eligible(tree, today=today) == len(reached)
            assert await w.ledger.eligible_many({"x": tree, "nobody": AnyOf()}, today=today) == {
                "x": len(reached),
                "nobody": 0,
            }
            await w.ledger.open_run(run)
            assert await w.ledger.freeze(run.id, tree, today=today, now=world.now(), chunk=3) == len(reached)
        rows = await world.rows(tenant, run.id)
        assert {row.phone for row in rows} == reached
        assert [row.id.seq for row in rows] == list(range(1, len(reached) + 1))
