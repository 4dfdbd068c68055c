"""Import rows merged set-based mean what the core's rule means, row by row, with odd characters and races."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any
from uuid import UUID

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from tests.integration.sql_read.conftest import AT, Shop

from callboard.contacts.model import Consent, ConsentSource, Contact, ContactRow, Gender, Suppression
from callboard.contacts.rules import first_import, merge
from callboard.ids import ContactId
from callboard.paging import PageRequest
from callboard.values import Phone

PHONES = [f"+91980000000{n}" for n in range(4)]
words = st.none() | st.sampled_from(["", "Asha", "a\tb", "a\nb", "a\\b", "\\N", "é\u2028", "q\"u,o'te", "\r", "%s"])
consents = st.none() | st.sampled_from(Consent)
tag_sets = st.none() | st.frozensets(st.sampled_from(["vip", "a\tb", "\x1f", "\\"]), max_size=2)


def a_row(phone: str) -> st.SearchStrategy[ContactRow]:
    return st.builds(
        ContactRow,
        line=st.just(2),
        phone=st.just(Phone(phone)),
        first_name=words,
        last_name=words,
        email=words,
        gender=st.none() | st.sampled_from(Gender),
        birth_date=st.none() | st.sampled_from([date(2000, 2, 29), date(1931, 1, 1)]),
        consent=consents,
        tags=tag_sets,
    )


batches = st.lists(
    st.lists(st.sampled_from(PHONES), unique=True, max_size=4).flatmap(
        lambda phones: st.tuples(*(a_row(phone) for phone in phones))
    ),
    min_size=1,
    max_size=3,
)
said = st.dictionaries(st.sampled_from(PHONES), st.sampled_from(Consent), max_size=3)
nobody = ContactId(UUID(int=0))


def plain(contact: Contact) -> Contact:
    return attrs.evolve(contact, id=nobody, created_at=AT, updated_at=AT)


class TestAgainstTheRule:
    """The same batches through ``rules.merge`` and through the database."""

    @settings(max_examples=40)
    @given(data=st.data(), given_batches=batches, consent=said, suppressed=st.frozensets(st.sampled_from(PHONES)))
    async def test_rows_become_what_the_rule_says(
        self, shop: Shop, data: st.DataObject, given_batches: Any, consent: dict[str, Consent], suppressed: Any
    ) -> None:
        expected: dict[str, Contact] = {}
        async with shop.store.work(shop.id) as w:
            for table in ("contacts", "consent_records", "suppressions", "tenant_counters"):
                await w.connection.execute(text(f"DELETE FROM {table}"))
            for phone, word in sorted(consent.items()):
                contact = Contact(
                    id=ContactId(shop.ids.new()), phone=Phone(phone), consent=word, created_at=AT, updated_at=AT
                )
                await w.contacts.add(contact)
                expected[phone] = contact
            for phone in sorted(suppressed):
                await w.contacts.suppress(Suppression(phone=phone, reason="complaint", at=AT))
        history: dict[str, list[Consent]] = {phone: [] for phone in PHONES}
        for rows in given_batches:
            created = updated = 0
            for row in rows:
                phone = row.phone.e164
                out = phone in suppressed
                before = expected.get(phone)
                if before is None:
                    after = first_import(row, contact_id=nobody, now=AT, suppressed=out)
                    created += 1
                else:
                    after = merge(before, row, AT, suppressed=out)
                    updated += after != before
                if after.consent is not (Consent.UNKNOWN if before is None else before.consent):
                    history[phone].append(after.consent)
                expected[phone] = after
            async with shop.store.work(shop.id) as w:
                merged = await w.contacts.merge_rows(rows)
            counted = (merged.created, merged.updated, merged.unchanged)
            assert counted == (created, updated, len(rows) - created - updated)
        page = await shop.reads.contacts_page(shop.id, PageRequest())
        assert page.total == len(expected)
        stored = {contact.phone.e164: contact for contact in page.items if contact.phone}
        assert {phone: plain(c) for phone, c in stored.items()} == {phone: plain(c) for phone, c in expected.items()}
        async with shop.store.work(shop.id) as w:
            for phone in PHONES:
                records = await w.contacts.consent_history(phone)
                assert [record.consent for record in records] == history[phone]
                assert {record.source for record in records} <= {ConsentSource.IMPORT}
                assert {record.contact_id for record in records} <= {stored[phone].id if phone in stored else None}


async def test_only_rows_that_change_get_a_new_time(shop: Shop) -> None:
    before = [await shop.contact(phone, first_name="Asha") for phone in PHONES[:2]]
    rows = [
        ContactRow(line=2, phone=Phone(PHONES[0]), first_name="Asha"),
        ContactRow(line=3, phone=Phone(PHONES[1]), first_name="Bela"),
    ]
    async with shop.store.work(shop.id) as w:
        await w.contacts.merge_rows(rows)
        same, other = [await w.contacts.by_phone(phone) for phone in PHONES[:2]]
    assert same == before[0]
    assert other is not None
    assert other.first_name == "Bela"
    assert other.updated_at > before[1].updated_at
    assert other.created_at == before[1].created_at


async def test_a_deleted_contact_is_imported_as_a_new_one(shop: Shop) -> None:
    gone = await shop.contact(PHONES[0], first_name="Asha")
    async with shop.store.work(shop.id) as w:
        await w.contacts.save(attrs.evolve(gone, deleted_at=AT))
    async with shop.store.work(shop.id) as w:
        merged = await w.contacts.merge_rows([ContactRow(line=2, phone=Phone(PHONES[0]))])
        assert merged.created == 1
        new = await w.contacts.by_phone(PHONES[0])
    assert new is not None
    assert new.id != gone.id
    assert new.first_name is None


async def test_two_imports_of_the_same_people_at_once_make_each_of_them_once(shop: Shop) -> None:
    rows = [ContactRow(line=n, phone=Phone(f"+9198{n:08}"), consent=Consent.OPTED_IN) for n in range(500)]

    async def one(part: list[ContactRow]) -> int:
        async with shop.store.work(shop.id) as w:
            return (await w.contacts.merge_rows(part)).created

    created = await asyncio.gather(one(rows), one(rows[::-1]), one(rows[250:] + rows[:250]))
    assert sorted(created) == [0, 0, 500]
    assert (await shop.reads.contacts_page(shop.id, PageRequest())).total == 500
    async with shop.store.work(shop.id) as w:
        assert len(await w.contacts.consent_history("+919800000007")) == 1


async def test_an_import_into_one_shop_changes_nothing_in_another(open_shop: Any) -> None:
    one, two = await open_shop("one"), await open_shop("two")
    before = await two.contact(PHONES[0], first_name="Asha")
    async with two.store.work(two.id) as w:
        await w.contacts.suppress(Suppression(phone=PHONES[1], reason="stop", at=AT))
    rows = [ContactRow(line=2, phone=Phone(phone), first_name="New", consent=Consent.OPTED_IN) for phone in PHONES]
    async with one.store.work(one.id) as w:
        assert (await w.contacts.merge_rows(rows)).created == 4
        mine = await w.contacts.by_phone(PHONES[1])
    assert mine is not None
    assert mine.consent is Consent.OPTED_IN
    async with two.store.work(two.id) as w:
        assert await w.contacts.by_phone(PHONES[0]) == before
    assert (await two.reads.contacts_page(two.id, PageRequest())).total == 1
