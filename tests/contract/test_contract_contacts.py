"""Contacts, consent history and suppression."""

from __future__ import annotations

from datetime import date, timedelta

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.world import World, answers, phone, together

from callboard.contacts.model import (
    Consent,
    ConsentRecord,
    ConsentSource,
    Contact,
    ContactRow,
    Gender,
    Suppression,
)
from callboard.contacts.ports import Merged
from callboard.contacts.rules import consent_imported, first_import, merge
from callboard.errors import AlreadyExists
from callboard.ids import ContactId
from callboard.values import Phone


def a_row(number: int, line: int = 2, **fields: object) -> ContactRow:
    return ContactRow(line=line, phone=Phone(phone(number)), **fields)  # type: ignore[arg-type]


async def test_a_contact_is_stored_as_given(world: World) -> None:
    tenant = await world.tenant()
    full = await world.contact(
        tenant,
        1,
        first_name="Ana  María ",
        last_name="<b>O'Neil</b>",
        email="Ana@Example.com",
        gender=Gender.FEMALE,
        birth_date=date(2000, 2, 29),
        tags=frozenset({"vip", "a,b", "größe", "100%", "_x"}),
        consent=Consent.OPTED_IN,
        phone=Phone(phone(1), valid=False),
    )
    bare = await world.contact(tenant, None, consent=Consent.UNKNOWN)
    async with world.work(tenant) as w:
        assert await w.contacts.get(full.id) == full
        assert await w.contacts.by_phone(phone(1)) == full
        assert await w.contacts.get(bare.id) == bare
        assert await w.contacts.get(ContactId(world.ids.new())) is None
        assert await w.contacts.by_phone(phone(2)) is None


async def test_a_phone_belongs_to_one_live_contact(world: World) -> None:
    tenant = await world.tenant()
    first = await world.contact(tenant, 1)
    with pytest.raises(AlreadyExists):
        await world.contact(tenant, 1)
    other = await world.contact(tenant, 2)
    with pytest.raises(AlreadyExists):
        async with world.work(tenant) as w:
            await w.contacts.save(attrs.evolve(other, phone=first.phone))
    async with world.work(tenant) as w:
        assert await w.contacts.by_phone(phone(1)) == first
        assert await w.contacts.get(other.id) == other


async def test_racing_for_one_phone_leaves_one_contact(world: World) -> None:
    tenant = await world.tenant()
    results = await together(*(world.contact(tenant, 1) for _ in range(6)))
    made = [r for r in results if isinstance(r, Contact)]
    assert len(made) == 1
    assert sum(isinstance(r, AlreadyExists) for r in results) == 5
    async with world.work(tenant) as w:
        assert await w.contacts.by_phone(phone(1)) == made[0]


async def test_any_number_of_contacts_has_no_phone(world: World) -> None:
    tenant = await world.tenant()
    made = [await world.contact(tenant, None) for _ in range(3)]
    async with world.work(tenant) as w:
        assert [await w.contacts.get(c.id) for c in made] == made


async def test_saving_replaces_the_whole_row(world: World) -> None:
    tenant = await world.tenant()
    before = await world.contact(tenant, 1, first_name="A", email="a@b.c", tags=frozenset({"x"}), gender=Gender.MALE)
    after = attrs.evolve(
        before,
        phone=Phone(phone(7)),
        first_name=None,
        email=None,
        tags=frozenset(),
        gender=None,
        consent=Consent.OPTED_OUT,
        updated_at=world.now() + timedelta(seconds=1),
    )
    async with world.work(tenant) as w:
        await w.contacts.save(after)
    async with world.work(tenant) as w:
        assert await w.contacts.get(before.id) == after
        assert await w.contacts.by_phone(phone(1)) is None
        assert await w.contacts.by_phone(phone(7)) == after


async def test_a_deleted_contact_is_not_there_and_frees_its_phone(world: World) -> None:
    tenant = await world.tenant()
    contact = await world.contact(tenant, 1)
    async with world.work(tenant) as w:
        await w.contacts.save(attrs.evolve(contact, deleted_at=world.now()))
    async with world.work(tenant) as w:
        assert await w.contacts.get(contact.id) is None
        assert await w.contacts.by_phone(phone(1)) is None
        assert await w.contacts.existing_phones([phone(1)]) == frozenset()
    again = await world.contact(tenant, 1)
    async with world.work(tenant) as w:
        assert await w.contacts.by_phone(phone(1)) == again


async def test_existing_phones_are_those_of_live_contacts(world: World) -> None:
    tenant = await world.tenant()
    await world.people(tenant, 3)
    async with world.work(tenant) as w:
        assert await w.contacts.existing_phones([phone(n) for n in (2, 3, 4)]) == {phone(2), phone(3)}
        assert await w.contacts.existing_phones([]) == frozenset()


async def test_the_consent_history_is_kept_by_phone_oldest_first(world: World) -> None:
    tenant = await world.tenant()
    contact = await world.contact(tenant, 1)
    records = [
        ConsentRecord(
            contact_id=contact_id,
            phone=phone(1),
            consent=consent,
            source=source,
            evidence=evidence,
            at=world.now() + timedelta(seconds=n),
        )
        for n, (contact_id, consent, source, evidence) in enumerate(
            (
                (contact.id, Consent.OPTED_IN, ConsentSource.API, None),
                (None, Consent.OPTED_OUT, ConsentSource.INBOUND, "STOP"),
                (contact.id, Consent.OPTED_IN, ConsentSource.UNSUBSCRIBE_LINK, "x"),
            )
        )
    ]
    async with world.work(tenant) as w:
        for record in records:
            await w.contacts.record_consent(record)
        await w.contacts.record_consent(attrs.evolve(records[0], phone=phone(2)))
    async with world.work(tenant) as w:
        assert await w.contacts.consent_history(phone(1)) == records
        assert await w.contacts.consent_history(phone(3)) == []


async def test_suppression_says_whether_it_was_news(world: World) -> None:
    tenant = await world.tenant()
    suppression = Suppression(phone=phone(1), reason="inbound", at=world.now())
    async with world.work(tenant) as w:
        assert await w.contacts.suppress(suppression)
        assert not await w.contacts.suppress(attrs.evolve(suppression, reason="again"))
        assert await w.contacts.suppressed([phone(1), phone(2)]) == {phone(1)}
        assert await w.contacts.suppressed([]) == frozenset()
        assert await w.contacts.unsuppress(phone(1))
        assert not await w.contacts.unsuppress(phone(1))
        assert await w.contacts.suppressed([phone(1)]) == frozenset()


async def test_racing_suppressions_are_news_once(world: World) -> None:
    tenant = await world.tenant()

    async def suppress() -> bool:
        async with world.work(tenant) as w:
            return await w.contacts.suppress(Suppression(phone=phone(1), reason="x", at=world.now()))

    assert sorted(answers(await together(*(suppress() for _ in range(5))))) == [False] * 4 + [True]


# --- import -------------------------------------------------------------------------------------------------------


async def test_new_rows_become_contacts(world: World) -> None:
    tenant = await world.tenant()
    rows = [
        a_row(1, 2, first_name="A", consent=Consent.OPTED_IN, tags=frozenset({"x"})),
        a_row(2, 3, gender=Gender.FEMALE, birth_date=date(1990, 5, 5), email="b@c.d"),
        a_row(3, 4, consent=Consent.OPTED_OUT),
    ]
    async with world.work(tenant) as w:
        assert await w.contacts.merge_rows(rows) == Merged(created=3, updated=0, unchanged=0)
    async with world.work(tenant) as w:
        one, two, three = [await w.contacts.by_phone(phone(n)) for n in (1, 2, 3)]
        assert one and two and three
        assert (one.first_name, one.consent, one.tags) == ("A", Consent.OPTED_IN, frozenset({"x"}))
        assert (two.gender, two.birth_date, two.email) == (Gender.FEMALE, date(1990, 5, 5), "b@c.d")
        assert two.consent is Consent.UNKNOWN
        assert three.consent is Consent.OPTED_OUT
        assert len({one.id, two.id, three.id}) == 3
        assert one.created_at == one.updated_at
        histories = [await w.contacts.consent_history(phone(n)) for n in (1, 2, 3)]
        assert [[(r.contact_id, r.consent, r.source) for r in history] for history in histories] == [
            [(one.id, Consent.OPTED_IN, ConsentSource.IMPORT)],
            [],
            [(three.id, Consent.OPTED_OUT, ConsentSource.IMPORT)],
        ]


async def test_importing_the_same_rows_again_changes_nothing(world: World) -> None:
    tenant = await world.tenant()
    rows = [a_row(n, n + 1, first_name=f"P{n}", consent=Consent.OPTED_IN) for n in range(1, 6)]
    async with world.work(tenant) as w:
        await w.contacts.merge_rows(rows)
        before = [await w.contacts.by_phone(phone(n)) for n in range(1, 6)]
    await world.wait(0.01)
    async with world.work(tenant) as w:
        assert await w.contacts.merge_rows(rows) == Merged(created=0, updated=0, unchanged=5)
        assert [await w.contacts.by_phone(phone(n)) for n in range(1, 6)] == before
        assert [len(await w.contacts.consent_history(phone(n))) for n in range(1, 6)] == [1] * 5


async def test_what_a_row_does_not_say_stays(world: World) -> None:
    tenant = await world.tenant()
    before = await world.contact(
        tenant, 1, first_name="A", last_name="B", email="a@b.c", gender=Gender.MALE, tags=frozenset({"x"})
    )
    await world.wait(0.01)
    async with world.work(tenant) as w:
        assert await w.contacts.merge_rows([a_row(1, last_name="C")]) == Merged(created=0, updated=1, unchanged=0)
        after = await w.contacts.get(before.id)
        assert after is not None
        assert attrs.evolve(after, updated_at=before.updated_at) == attrs.evolve(before, last_name="C")
        assert after.updated_at > before.updated_at


async def test_an_import_never_opts_anybody_in_again(world: World) -> None:
    tenant = await world.tenant()
    out = await world.contact(tenant, 1, consent=Consent.OPTED_OUT)
    await world.contact(tenant, 2, consent=Consent.UNKNOWN)
    async with world.work(tenant) as w:
        await w.contacts.suppress(Suppression(phone=phone(2), reason="x", at=world.now()))
        await w.contacts.suppress(Suppression(phone=phone(3), reason="x", at=world.now()))
        await w.contacts.merge_rows([a_row(n, n + 1, first_name="N", consent=Consent.OPTED_IN) for n in (1, 2, 3)])
    async with world.work(tenant) as w:
        found = [await w.contacts.by_phone(phone(n)) for n in (1, 2, 3)]
        assert [c and c.consent for c in found] == [Consent.OPTED_OUT] * 3
        assert [c and c.first_name for c in found] == ["N"] * 3
        assert await w.contacts.consent_history(phone(1)) == []
        assert out.id == (found[0] and found[0].id)


async def test_a_deleted_contact_is_made_anew_by_an_import(world: World) -> None:
    tenant = await world.tenant()
    gone = await world.contact(tenant, 1)
    async with world.work(tenant) as w:
        await w.contacts.save(attrs.evolve(gone, deleted_at=world.now()))
        assert await w.contacts.merge_rows([a_row(1)]) == Merged(created=1, updated=0, unchanged=0)
        found = await w.contacts.by_phone(phone(1))
    assert found is not None
    assert found.id != gone.id


async def test_no_rows_are_no_work(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        assert await w.contacts.merge_rows([]) == Merged(created=0, updated=0, unchanged=0)


async def test_racing_imports_make_every_contact_once(world: World) -> None:
    tenant = await world.tenant()

    async def one_import(name: str) -> Merged:
        async with world.work(tenant) as w:
            return await w.contacts.merge_rows([a_row(n, n, first_name=name) for n in range(1, 21)])

    done = answers(await together(*(one_import(f"F{n}") for n in range(4))))
    assert sum(m.created for m in done) == 20
    assert all(m.created + m.updated + m.unchanged == 20 for m in done)
    async with world.work(tenant) as w:
        assert len(await w.contacts.existing_phones([phone(n) for n in range(1, 21)])) == 20


_ROW = st.builds(
    a_row,
    st.integers(1, 4),
    first_name=st.none() | st.sampled_from(["A", "B", ""]),
    email=st.none() | st.sampled_from(["a@b.c", "A@b.c"]),
    gender=st.none() | st.sampled_from(Gender),
    birth_date=st.none() | st.just(date(1999, 1, 1)),
    tags=st.none() | st.frozensets(st.sampled_from(["x", "y z"]), max_size=2),
    consent=st.none() | st.sampled_from(Consent),
)


@given(
    batches=st.lists(st.lists(_ROW, max_size=4, unique_by=lambda r: r.phone), min_size=1, max_size=4),
    suppressed=st.frozensets(st.integers(1, 4), max_size=2),
)
@settings(max_examples=25)
async def test_a_merge_is_what_the_rule_says(
    world: World, batches: list[list[ContactRow]], suppressed: frozenset[int]
) -> None:
    tenant = await world.tenant()
    model: dict[str, Contact] = {}
    records = 0
    async with world.work(tenant) as w:
        for number in suppressed:
            await w.contacts.suppress(Suppression(phone=phone(number), reason="x", at=world.now()))
    for rows in batches:
        expected = {"created": 0, "updated": 0, "unchanged": 0}
        for row in rows:
            e164 = row.phone.e164
            before = model.get(e164)
            out = e164 in {phone(n) for n in suppressed}
            if before is None:
                after = first_import(row, contact_id=ContactId(world.ids.new()), now=world.now(), suppressed=out)
            else:
                after = merge(before, row, world.now(), suppressed=out)
            expected["created" if before is None else "unchanged" if after is before else "updated"] += 1
            records += consent_imported(before, after, world.now()) is not None
            model[e164] = after
        async with world.work(tenant) as w:
            assert await w.contacts.merge_rows(rows) == Merged(**expected)
    async with world.work(tenant) as w:
        for e164, contact in model.items():
            found = await w.contacts.by_phone(e164)
            assert found is not None
            assert found == attrs.evolve(contact, id=found.id, created_at=found.created_at, updated_at=found.updated_at)
        histories = [await w.contacts.consent_history(phone(n)) for n in range(1, 5)]
    assert sum(len(history) for history in histories) == records
