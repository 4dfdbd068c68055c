from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from tests.unit.tenants.shop import Shop, open_shop

from callboard.contacts.model import Consent, ConsentSource, Contact, Gender
from callboard.contacts.service import ContactChanges, ContactService
from callboard.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from callboard.ids import ContactId, SegmentId
from callboard.paging import PageRequest
from callboard.segments.model import EVERYBODY, AllOf, GenderIs, MemberOf, Not
from callboard.segments.service import SegmentService
from callboard.values import Phone

MEN = GenderIs(gender=Gender.MALE)
KEYS = [
    *("gender_male", "gender_female", "gender_unknown"),
    *("age_18_24", "age_25_34", "age_35_44", "age_45_54", "age_55_plus"),
]


def segments(shop: Shop) -> SegmentService:
    return SegmentService(work=shop.store.work, clock=shop.clock, ids=shop.ids)


async def add(shop: Shop, n: int, *, gender: Gender | None = None, consent: Consent = Consent.OPTED_IN) -> Contact:
    service = ContactService(work=shop.store.work, clock=shop.clock, ids=shop.ids)
    return await service.create(
        shop.tenant, ContactChanges(phone=Phone(f"+9198765432{n:02d}"), gender=gender, consent=consent)
    )


async def test_eight_system_segments_are_made_once_under_races() -> None:
    shop = await open_shop()
    service = segments(shop)
    answers = await asyncio.gather(*(service.list(shop.tenant) for _ in range(20)))
    assert [segment.key for segment in answers[0]] == KEYS
    assert {tuple(segment.id for segment in answer) for answer in answers} == {tuple(s.id for s in answers[0])}
    assert await service.list(shop.other) != answers[0]


async def test_the_preview_is_the_number_of_messages_that_would_be_sent() -> None:
    shop = await open_shop()
    service = segments(shop)
    await add(shop, 1, gender=Gender.MALE)
    await add(shop, 2, gender=Gender.MALE, consent=Consent.UNKNOWN)
    await add(shop, 3, gender=Gender.FEMALE)
    stopped = await add(shop, 4, gender=Gender.MALE)
    assert stopped.phone is not None
    everyone = ContactService(work=shop.store.work, clock=shop.clock, ids=shop.ids)
    await everyone.opt_out(shop.tenant, stopped.phone.e164, source=ConsentSource.INBOUND)
    counted = {segment.key: n for segment, n in await service.list_counted(shop.tenant)}
    assert (counted["gender_male"], counted["gender_female"], counted["gender_unknown"]) == (1, 1, 0)
    men = next(s for s in await service.list(shop.tenant) if s.key == "gender_male")
    assert await service.preview(shop.tenant, men.id) == 1
    assert await service.preview_criteria(shop.tenant, MEN) == 1
    assert (await service.members(shop.tenant, men.id, PageRequest())).total == 3
    assert (await service.members(shop.tenant, men.id, PageRequest(), reachable=True)).total == 1


async def test_a_list_segment_holds_its_members_and_nobody_else() -> None:
    shop = await open_shop()
    service = segments(shop)
    people = [await add(shop, n) for n in range(3)]
    segment = await service.create(shop.tenant, "Friends", contacts=[people[0].id])
    assert await service.preview(shop.tenant, segment.id) == 1
    assert await service.add_members(shop.tenant, segment.id, [people[0].id, people[1].id]) == 1
    page = await service.members(shop.tenant, segment.id, PageRequest(size=1))
    assert (page.total, len(page.items)) == (2, 1)
    assert await service.remove_members(shop.tenant, segment.id, [people[0].id, ContactId(UUID(int=99))]) == 1
    assert await service.preview(shop.tenant, segment.id) == 1


async def test_an_unknown_contact_adds_nobody() -> None:
    shop = await open_shop()
    service = segments(shop)
    person = await add(shop, 1)
    segment = await service.create(shop.tenant, "Friends", contacts=[])
    with pytest.raises(NotFound):
        await service.add_members(shop.tenant, segment.id, [person.id, ContactId(UUID(int=99))])
    assert await service.preview(shop.tenant, segment.id) == 0
    with pytest.raises(NotFound):
        await service.create(shop.tenant, "More", contacts=[ContactId(UUID(int=99))])
    assert "More" not in [s.name for s in await service.list(shop.tenant)]


async def test_criteria_may_not_use_an_unknown_or_foreign_segment() -> None:
    shop = await open_shop()
    service = segments(shop)
    foreign = await service.create(shop.other, "Theirs", contacts=[])
    for segment_id in (foreign.id, SegmentId(UUID(int=404))):
        with pytest.raises(NotFound):
            await service.create(shop.tenant, "Mine", criteria=Not(part=MemberOf(segment_id=segment_id)))
        with pytest.raises(NotFound):
            await service.preview_criteria(shop.tenant, MemberOf(segment_id=segment_id))
    rule = await service.create(shop.tenant, "Rule", criteria=MEN)
    with pytest.raises(InvalidInput):
        await service.create(shop.tenant, "Of rule", criteria=MemberOf(segment_id=rule.id))


async def test_a_list_that_a_rule_uses_cannot_be_deleted() -> None:
    shop = await open_shop()
    service = segments(shop)
    friends = await service.create(shop.tenant, "Friends", contacts=[])
    rule = await service.create(shop.tenant, "Others", criteria=Not(part=MemberOf(segment_id=friends.id)))
    with pytest.raises(Conflict):
        await service.delete(shop.tenant, friends.id)
    await service.delete(shop.tenant, rule.id)
    await service.delete(shop.tenant, friends.id)
    with pytest.raises(NotFound):
        await service.get(shop.tenant, friends.id)


async def test_empty_criteria_are_refused_never_everybody() -> None:
    shop = await open_shop()
    service = segments(shop)
    for criteria in (EVERYBODY, AllOf(parts=())):
        with pytest.raises(InvalidInput):
            await service.create(shop.tenant, "All", criteria=criteria)
    with pytest.raises(InvalidInput):
        await service.create(shop.tenant, "Neither")
    with pytest.raises(InvalidInput):
        await service.create(shop.tenant, "Both", criteria=MEN, contacts=[])


async def test_system_segments_and_foreign_ones_cannot_be_changed() -> None:
    shop = await open_shop()
    service = segments(shop)
    system = (await service.list(shop.tenant))[0]
    with pytest.raises(Conflict):
        await service.update(shop.tenant, system.id, name="x")
    with pytest.raises(Conflict):
        await service.delete(shop.tenant, system.id)
    with pytest.raises(Conflict):
        await service.add_members(shop.tenant, system.id, [])
    mine = await service.create(shop.tenant, "Mine", criteria=MEN)
    for attempt in (
        service.get(shop.other, mine.id),
        service.preview(shop.other, mine.id),
        service.update(shop.other, mine.id, name="x"),
        service.delete(shop.other, mine.id),
        service.members(shop.other, mine.id, PageRequest()),
        service.add_members(shop.other, mine.id, []),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_custom_segments_are_edited_and_their_names_unique() -> None:
    shop = await open_shop()
    service = segments(shop)
    mine = await service.create(shop.tenant, "Mine", criteria=MEN)
    with pytest.raises(AlreadyExists):
        await service.create(shop.tenant, "Mine", criteria=MEN)
    women = GenderIs(gender=Gender.FEMALE)
    changed = await service.update(shop.tenant, mine.id, name="Yours", criteria=women, active=False)
    assert (changed.name, changed.criteria, changed.active) == ("Yours", women, False)
    assert await service.get(shop.tenant, mine.id) == changed
    listed = await service.create(shop.tenant, "List", contacts=[])
    with pytest.raises(Conflict):
        await service.update(shop.tenant, listed.id, criteria=women)
    with pytest.raises(Conflict):
        await service.add_members(shop.tenant, mine.id, [])
