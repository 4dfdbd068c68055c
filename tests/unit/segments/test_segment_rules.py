from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.contacts.model import Consent, Contact, Gender
from callboard.errors import InvalidInput
from callboard.ids import ContactId, SegmentId
from callboard.segments import rules
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
from callboard.values import Phone

TODAY = date(2026, 11, 20)
LISTS = tuple(SegmentId(UUID(int=n)) for n in (1, 2))
BUCKETS = [criteria for key, _, criteria in rules.SYSTEM_SEGMENTS if key.startswith("age_")]

moments = st.datetimes(datetime(2020, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))
days = st.dates(date(1900, 1, 1), date(2030, 12, 31)) | st.sampled_from(
    [date(2000, 2, 29), date(2024, 2, 29), date(2023, 2, 28)]
)


@st.composite
def ages(draw: st.DrawFn) -> AgeBetween:
    low, high = sorted((draw(st.integers(0, 110)), draw(st.integers(0, 110))))
    return draw(st.sampled_from([AgeBetween(gte=low), AgeBetween(lte=high), AgeBetween(gte=low, lte=high)]))


@st.composite
def created(draw: st.DrawFn) -> CreatedBetween:
    after, before = draw(moments), draw(moments)
    if after >= before:
        return CreatedBetween(after=after)
    return draw(st.sampled_from([CreatedBetween(before=before), CreatedBetween(after=after, before=before)]))


leaves: st.SearchStrategy[Criteria] = st.one_of(
    st.builds(GenderIs, gender=st.none() | st.sampled_from(Gender)),
    ages(),
    st.builds(HasTag, tags=st.frozensets(st.sampled_from(["vip", "VIP", "tea"]), min_size=1)),
    created(),
    st.builds(ConsentIs, consent=st.sampled_from(Consent)),
    st.builds(BirthdayOn, day=days),
    st.builds(MemberOf, segment_id=st.sampled_from(LISTS)),
)
trees: st.SearchStrategy[Criteria] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: AllOf(parts=tuple(parts))),
        st.lists(inner, max_size=3).map(lambda parts: AnyOf(parts=tuple(parts))),
        inner.map(lambda part: Not(part=part)),
    ),
    max_leaves=8,
)
contacts = st.builds(
    Contact,
    id=st.integers(1, 5).map(lambda n: ContactId(UUID(int=n))),
    phone=st.just(Phone("+919876543210")),
    gender=st.none() | st.sampled_from(Gender),
    birth_date=st.none() | days,
    tags=st.frozensets(st.sampled_from(["vip", "VIP", "tea"])),
    consent=st.sampled_from(Consent),
    created_at=moments,
    updated_at=st.just(datetime(2027, 1, 1, tzinfo=UTC)),
)
memberships = st.dictionaries(
    st.sampled_from(LISTS), st.frozensets(st.integers(1, 5).map(lambda n: ContactId(UUID(int=n))))
)


def naive_age(born: date, today: date) -> int:
    """Count birthdays one by one."""
    age = -1 if born > today else 0
    while age >= 0:
        try:
            birthday = born.replace(year=born.year + age + 1)
        except ValueError:
            birthday = date(born.year + age + 1, 3, 1)
        if birthday > today:
            return age
        age += 1
    return age


def oracle(c: Criteria, contact: Contact, today: date, members: Mapping[SegmentId, AbstractSet[ContactId]]) -> bool:
    """The meaning of criteria written a second time, as plainly as possible."""
    if isinstance(c, AllOf):
        return False not in [oracle(part, contact, today, members) for part in c.parts]
    if isinstance(c, AnyOf):
        return True in [oracle(part, contact, today, members) for part in c.parts]
    if isinstance(c, Not):
        return oracle(c.part, contact, today, members) is False
    if isinstance(c, GenderIs):
        return contact.gender == c.gender
    if isinstance(c, HasTag):
        return len(c.tags & contact.tags) > 0
    if isinstance(c, ConsentIs):
        return contact.consent == c.consent
    if isinstance(c, MemberOf):
        return any(contact.id == member for member in members.get(c.segment_id, ()))
    if isinstance(c, CreatedBetween):
        return not (c.after and contact.created_at < c.after) and not (c.before and contact.created_at >= c.before)
    born = contact.birth_date
    if born is None:
        return False
    if isinstance(c, AgeBetween):
        age = naive_age(born, today)
        return (c.gte is None or age >= c.gte) and (c.lte is None or age <= c.lte)
    try:
        kept = born.replace(year=c.day.year)
    except ValueError:
        kept = date(c.day.year, 2, 28)
    return kept == c.day


@given(trees, contacts, days, memberships)
def test_matches_is_what_an_independent_reading_says(
    criteria: Criteria, contact: Contact, today: date, members: dict[SegmentId, frozenset[ContactId]]
) -> None:
    assert rules.matches(criteria, contact, today=today, members=members) == oracle(criteria, contact, today, members)


@given(days, days)
def test_age_buckets_are_disjoint_and_complete_for_adults(born: date, today: date) -> None:
    contact = Contact(
        id=ContactId(UUID(int=1)),
        phone=None,
        birth_date=born,
        created_at=datetime.now(UTC),
        updated_at=datetime.now(UTC),
    )
    hits = [bucket for bucket in BUCKETS if rules.matches(bucket, contact, today=today, members={})]
    assert len(hits) == (1 if naive_age(born, today) >= 18 else 0)


@pytest.mark.parametrize(
    ("born", "today", "age"),
    [
        (date(2002, 11, 21), date(2026, 11, 20), 23),
        (date(2002, 11, 20), date(2026, 11, 20), 24),
        (date(2008, 2, 29), date(2026, 2, 28), 17),
        (date(2008, 2, 29), date(2026, 3, 1), 18),
        (date(2000, 2, 29), date(2024, 2, 29), 24),
        (date(2026, 11, 20), date(2026, 11, 20), 0),
    ],
)
def test_age_is_exact_on_the_day(born: date, today: date, age: int) -> None:
    assert rules.age_on(born, today) == age == naive_age(born, today)


def test_somebody_of_24_whose_birthday_is_still_ahead_is_in_exactly_the_first_bucket() -> None:
    contact = Contact(
        id=ContactId(UUID(int=1)),
        phone=None,
        birth_date=date(2001, 12, 24),
        created_at=datetime.now(UTC),
        updated_at=datetime.now(UTC),
    )
    assert [rules.matches(b, contact, today=TODAY, members={}) for b in BUCKETS] == [True, False, False, False, False]


@given(ages(), days, days)
def test_the_bounds_that_sql_uses_are_the_same_rule(age: AgeBetween, born: date, today: date) -> None:
    earliest, latest = rules.born_between(age, today)
    inside = (earliest is None or earliest <= born) and (latest is None or born <= latest)
    exact = rules.age_on(born, today)
    assert inside == ((age.gte is None or exact >= age.gte) and (age.lte is None or exact <= age.lte))


def test_a_contact_without_birth_date_fails_an_age_and_passes_its_negation() -> None:
    contact = Contact(id=ContactId(UUID(int=1)), phone=None, created_at=datetime.now(UTC), updated_at=datetime.now(UTC))
    adult = AgeBetween(gte=18)
    assert not rules.matches(adult, contact, today=TODAY, members={})
    assert rules.matches(Not(part=adult), contact, today=TODAY, members={})


@given(trees)
def test_printed_criteria_read_back_as_the_same_criteria(criteria: Criteria) -> None:
    printed = rules.dump_criteria(criteria)
    assert rules.parse_criteria(json.loads(json.dumps(printed))) == criteria


def test_system_segments_print_exactly_as_in_the_contract() -> None:
    printed = {key: rules.dump_criteria(criteria) for key, _, criteria in rules.SYSTEM_SEGMENTS}
    assert printed == {
        "gender_male": {"gender": "male"},
        "gender_female": {"gender": "female"},
        "gender_unknown": {"gender": None},
        "age_18_24": {"age": {"gte": 18, "lte": 24}},
        "age_25_34": {"age": {"gte": 25, "lte": 34}},
        "age_35_44": {"age": {"gte": 35, "lte": 44}},
        "age_45_54": {"age": {"gte": 45, "lte": 54}},
        "age_55_plus": {"age": {"gte": 55}},
    }


def test_several_keys_must_all_hold_and_print_as_they_were_given() -> None:
    given_ = {"gender": "female", "age": {"gte": 18}, "tags": ["vip"], "createdAfter": "2026-01-01T00:00:00Z"}
    parsed = rules.parse_criteria(given_)
    assert isinstance(parsed, AllOf)
    assert len(parsed.parts) == 4
    assert rules.dump_criteria(parsed) == given_


def test_a_date_begins_at_midnight_in_the_tenants_zone() -> None:
    parsed = rules.parse_criteria({"createdAfter": "2026-01-01"}, zone="Asia/Kolkata")
    assert parsed == CreatedBetween(after=datetime(2025, 12, 31, 18, 30, tzinfo=UTC))


def test_not_lists_what_must_not_hold() -> None:
    assert rules.parse_criteria({"not": [{"gender": "male"}]}) == Not(part=GenderIs(gender=Gender.MALE))
    assert rules.parse_criteria({"not": {"gender": "male"}}) == Not(part=GenderIs(gender=Gender.MALE))


def nested(depth: int) -> dict[str, Any]:
    return {"gender": "male"} if depth == 0 else {"all": [nested(depth - 1)]}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({}, "criteria"),
        (None, "criteria"),
        ("all", "criteria"),
        ([], "criteria"),
        ({"colour": "red"}, "criteria.colour"),
        ({"gender": "purple"}, "criteria.gender"),
        ({"gender": 5}, "criteria.gender"),
        ({"gender": ["male"]}, "criteria.gender"),
        ({"age": {}}, "criteria.age"),
        ({"age": 18}, "criteria.age"),
        ({"age": {"gte": "18"}}, "criteria.age.gte"),
        ({"age": {"gte": True}}, "criteria.age.gte"),
        ({"age": {"gte": 18.5}}, "criteria.age.gte"),
        ({"age": {"gte": 2**70}}, "criteria.age.gte"),
        ({"age": {"gte": 30, "lte": 20}}, "criteria.age.gte"),
        ({"age": {"over": 3}}, "criteria.age.over"),
        ({"tags": []}, "criteria.tags"),
        ({"tags": [1]}, "criteria.tags"),
        ({"tags": ["\x00"]}, "criteria.tags"),
        ({"tags": ["x"] * 51}, "criteria.tags"),
        ({"smsConsent": "yes"}, "criteria.smsConsent"),
        ({"segmentId": "segment123"}, "criteria.segmentId"),
        ({"createdAfter": "soon"}, "criteria.createdAfter"),
        ({"createdAfter": 5}, "criteria.createdAfter"),
        ({"createdAfter": "2026-02-02", "createdBefore": "2026-01-01"}, "criteria.createdAfter"),
        ({"createdAfter": "0001-01-01T00:00:00+14:00"}, "criteria.createdAfter"),
        ({"birthdayOn": "2025-02-29"}, "criteria.birthdayOn"),
        ({"all": {"gender": "male"}}, "criteria.all"),
        ({"any": "x"}, "criteria.any"),
        ({"not": []}, "criteria.not"),
        ({"all": [{"any": [{"nope": 1}]}]}, "criteria.all[0].any[0].nope"),
        ({"all": [{}]}, "criteria.all[0]"),
        ({"all": [{"gender": "male"}] * 101}, "criteria.all"),
        (nested(8), "criteria" + ".all[0]" * 8),
        ({"x" * 100: 1}, "criteria"),
    ],
)
def test_criteria_not_understood_are_an_error_never_everybody(value: object, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rules.parse_criteria(value)
    assert caught.value.field == field


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["all", "any", "not", "gender", "age", "tags", "gte", "createdAfter"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(json_values)
def test_any_json_is_either_criteria_or_invalid_input(value: Any) -> None:
    try:
        criteria = rules.parse_criteria(value)
    except InvalidInput as refusal:
        assert refusal.field.startswith("criteria")
    else:
        assert rules.parse_criteria(rules.dump_criteria(criteria)) == criteria


def test_lists_used_finds_every_member_list() -> None:
    tree = AllOf(
        parts=(
            Not(part=MemberOf(segment_id=LISTS[0])),
            AnyOf(parts=(MemberOf(segment_id=LISTS[1]), GenderIs(gender=None))),
        )
    )
    assert rules.lists_used(tree) == frozenset(LISTS)


def test_birthdays_of_29_february_are_kept_on_the_28th_of_common_years() -> None:
    assert rules.birthdays(date(2026, 2, 28)) == {(2, 28), (2, 29)}
    assert rules.birthdays(date(2028, 2, 28)) == {(2, 28)}
    assert rules.birthdays(date(2100, 2, 28)) == {(2, 28), (2, 29)}
    assert all(len(rules.birthdays(date(2026, 1, 1) + timedelta(days=n))) == 1 for n in range(40))
