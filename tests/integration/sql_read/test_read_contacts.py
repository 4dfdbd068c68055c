"""Lists of contacts: order, pages, totals and what a search finds."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import attrs
import pytest
from sqlalchemy import event, func, select, text
from tests.integration.sql_read.conftest import AT, Shop

from callboard.contacts.model import Consent, ContactRow
from callboard.errors import AlreadyExists
from callboard.ids import ContactId
from callboard.paging import PageRequest
from callboard.values import Phone
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.transactions import reading


async def found(shop: Shop, search: str) -> set[str | None]:
    page = await shop.reads.contacts_page(shop.id, PageRequest(size=100), search=search)
    assert page.total == len(page.items)
    return {contact.first_name for contact in page.items}


async def test_every_contact_is_on_exactly_one_page_newest_first(shop: Shop) -> None:
    same_time = [await shop.contact(f"+91980000{n:04}", created_at=AT) for n in range(7)]
    newer = await shop.contact("+919811111111", created_at=AT + timedelta(days=1))
    expected = [newer.id, *sorted((contact.id for contact in same_time), reverse=True)]
    pages = [await shop.reads.contacts_page(shop.id, PageRequest(number=n, size=3)) for n in (1, 2, 3, 4)]
    assert [contact.id for page in pages for contact in page.items] == expected
    assert [len(page.items) for page in pages] == [3, 3, 2, 0]
    assert {page.total for page in pages} == {8}
    assert pages[0].items[0] == newer


@pytest.mark.parametrize("size", [1, 2, 5, 9, 10, 11, 100])
async def test_pages_from_either_end_are_the_same_list(shop: Shop, size: int) -> None:
    for n in range(10):
        await shop.contact(f"+91980000{n:04}", first_name=str(n))
    names: list[str | None] = []
    for number in range(1, 12):
        page = await shop.reads.contacts_page(shop.id, PageRequest(number=number, size=size))
        names += [contact.first_name for contact in page.items]
    assert names == [str(n) for n in reversed(range(10))]


async def test_the_total_follows_additions_deletions_refusals_and_imports(shop: Shop) -> None:
    async def total() -> int:
        page = await shop.reads.contacts_page(shop.id, PageRequest())
        async with shop.store.work(shop.id) as w:
            live = select(func.count()).select_from(t.contacts).where(t.contacts.c.deleted_at.is_(None))
            assert await w.connection.scalar(live) == page.total
        return page.total

    assert await total() == 0
    first = await shop.contact("+919800000001")
    await shop.contact(None)
    async with shop.store.work(shop.id) as w:
        with pytest.raises(AlreadyExists):
            await w.contacts.add(attrs.evolve(first, id=ContactId(shop.ids.new())))
    assert await total() == 2
    rows = [ContactRow(line=n, phone=Phone(f"+91980000000{n}")) for n in (1, 2, 3)]
    async with shop.store.work(shop.id) as w:
        await w.contacts.merge_rows(rows)
    assert await total() == 4
    gone = attrs.evolve(first, deleted_at=AT)
    async with shop.store.work(shop.id) as w:
        await w.contacts.save(gone)
    async with shop.store.work(shop.id) as w:
        await w.contacts.save(gone)
    assert await total() == 3
    with pytest.raises(ZeroDivisionError):
        async with shop.store.work(shop.id) as w:
            await w.contacts.merge_rows([ContactRow(line=9, phone=Phone("+919800000099"))])
            raise ZeroDivisionError
    assert await total() == 3


@pytest.mark.parametrize(
    "term",
    [
        "+919876543210",
        "919876543210",
        "09876543210",
        "9876543210",
        "98765 43210",
        "+91 98765-43210",
        "(0)98765.43210",
        "00919876543210",
        "543210",
        "3210",
        "98765",
        "+9198765",
        "7654",
    ],
)
async def test_a_phone_is_found_in_any_spelling_from_either_end_or_inside(shop: Shop, term: str) -> None:
    await shop.contact("+919876543210", first_name="Asha")
    await shop.contact("+918888800000", first_name="9876543210")
    assert await found(shop, term) == {"Asha"}


async def test_a_short_number_is_not_mistaken_for_the_end_of_a_shorter_phone(shop: Shop) -> None:
    await shop.contact("+1234567", first_name="Short")
    await shop.contact("+919801234567", first_name="Long")
    assert await found(shop, "1234567") == {"Short", "Long"}
    assert await found(shop, "801234567") == {"Long"}


@pytest.mark.parametrize(
    ("term", "names"),
    [
        ("asha", {"Asha"}),
        ("ASHA", {"Asha"}),
        ("rao", {"Asha", "Bela"}),
        ("asha rao", {"Asha"}),
        ("rao asha", {"Asha"}),
        ("  as   ra ", {"Asha"}),
        ("mary ann", {"Mary Ann"}),
        ("ann", {"Mary Ann"}),
        ("élo", {"Élodie"}),
        ("Élodie", {"Élodie"}),
        ("asha@shop.example", {"Asha"}),
        ("ASHA@", {"Asha"}),
        ("@shop.example", {"Asha", "Bela"}),
        ("bela.r", {"Bela"}),
        ("o'b", {"O'Brien"}),
        ("100%", {"100%_\\"}),
        ("%_\\", {"100%_\\"}),
        ("nobody", set()),
        ("asha mary", set()),
        ("+", {"Asha", "Bela", "Mary Ann", "Élodie", "O'Brien", "100%_\\"}),
        ("x\x00y", set()),
    ],
)
async def test_names_and_emails_are_found_by_their_beginnings_then_by_their_insides(
    shop: Shop, term: str, names: set[str]
) -> None:
    await shop.contact("+919800000001", first_name="Asha", last_name="Rao", email="Asha@shop.example")
    await shop.contact("+919800000002", first_name="Bela", last_name="Rao-Das", email="bela.r@shop.example")
    await shop.contact("+919800000003", first_name="Mary Ann", last_name="Lee")
    await shop.contact("+919800000004", first_name="Élodie")
    await shop.contact("+919800000005", first_name="O'Brien")
    await shop.contact("+919800000006", first_name="100%_\\")
    assert await found(shop, term) == names


async def test_a_search_keeps_order_pages_and_total(shop: Shop) -> None:
    for n in range(9):
        await shop.contact(f"+91980000000{n}", first_name=f"Asha {n}", last_name="asha")
    await shop.contact("+919811111111", first_name="Other")
    pages = [await shop.reads.contacts_page(shop.id, PageRequest(number=n, size=4), search="asha") for n in (1, 3, 4)]
    assert [page.total for page in pages] == [9, 9, 9]
    names = [[contact.first_name for contact in page.items] for page in pages]
    assert names == [["Asha 8", "Asha 7", "Asha 6", "Asha 5"], ["Asha 0"], []]


async def test_blank_searches_find_everybody_and_deleted_contacts_are_nowhere(shop: Shop) -> None:
    kept = await shop.contact("+919800000001", first_name="Asha")
    gone = await shop.contact("+919800000002", first_name="Asha")
    async with shop.store.work(shop.id) as w:
        await w.contacts.save(attrs.evolve(gone, deleted_at=AT))
    for term in (None, "", "   ", "asha", "0002", "sha"):
        page = await shop.reads.contacts_page(shop.id, PageRequest(), search=term)
        expected = () if term == "0002" else (kept,)
        assert (page.items, page.total) == (expected, len(expected)), term


async def test_two_shops_with_the_same_people_never_see_each_other(open_shop: Any) -> None:
    shops = [await open_shop("one"), await open_shop("two")]
    for each in shops:
        for n in range(3):
            await each.contact(f"+91980000000{n}", first_name="Asha", email=f"a{n}@shop.example")
    for each in shops:
        async with each.store.work(each.id) as w:
            mine = {(await w.contacts.by_phone(f"+91980000000{n}")).id for n in range(3)}
        for term in (None, "asha", "sha", "0001", "+91", "a1@", "@shop"):
            page = await each.reads.contacts_page(each.id, PageRequest(), search=term)
            assert page.items
            assert {contact.id for contact in page.items} <= mine, term


@pytest.mark.parametrize("search", [None, "asha", "0001", "a@", "sha"])
async def test_the_number_of_statements_does_not_depend_on_the_page(
    shop: Shop, statements: list[str], search: str | None
) -> None:
    for n in range(30):
        await shop.contact(f"+9198{n:04}0001", first_name="Asha", email="a@x.example")
    sent = []
    for size in (1, 30):
        statements.clear()
        page = await shop.reads.contacts_page(shop.id, PageRequest(size=size), search=search)
        assert len(page.items) == size
        sent.append(len(statements))
    assert sent[0] == sent[1] <= 5


@pytest.mark.parametrize("search", ["+919876543210", "98765 43210", "asha@shop.example", "as@"])
async def test_looking_up_a_whole_number_or_address_that_nobody_has_reads_no_table(
    shop: Shop, statements: list[str], search: str
) -> None:
    await shop.contact("+919800000001", first_name="Asha")
    for term, expected in ((search, 1), ("sha", 2)):
        statements.clear()
        await shop.reads.contacts_page(shop.id, PageRequest(), search=term)
        assert sum("found" in statement for statement in statements) == expected, term


async def test_reading_waits_for_no_writer(shop: Shop) -> None:
    await shop.contact("+919800000001", consent=Consent.UNKNOWN)
    async with shop.store.work(shop.id) as w:
        await w.contacts.merge_rows([ContactRow(line=1, phone=Phone("+919800000002"))])
        page = await shop.reads.contacts_page(shop.id, PageRequest())
        assert page.total == len(page.items) == 1


@pytest.mark.parametrize(
    ("search", "index", "column"),
    [
        (None, "ix_contacts_list", "created_at"),
        ("asha", "ix_contacts_first_name", "search_first_name"),
        ("asha", "ix_contacts_last_name", "search_last_name"),
        ("a@x", "ix_contacts_email", "search_email"),
        ("543210", "ix_contacts_phone_end", "phone_end"),
        ("+919876", "uq_contacts_live_phone", "phone"),
    ],
)
async def test_lists_and_searches_can_use_their_index_behind_row_level_security(
    shop: Shop, search: str | None, index: str, column: str
) -> None:
    await shop.contact("+919876543210", first_name="Asha", last_name="Asha", email="a@x.example")
    sent: list[tuple[str, Any]] = []
    engine = shop.store.engine
    event.listen(engine.sync_engine, "before_cursor_execute", lambda _c, _k, sql, given, *_: sent.append((sql, given)))
    await shop.reads.contacts_page(shop.id, PageRequest(), search=search)
    sql, given = sent[-1]
    async with reading(engine, shop.id) as connection:
        if shop.store.sqlite:
            rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given)
            plan = "\n".join(row.detail for row in rows)
            assert f"{index} (tenant_id=? AND {column}" in plan
        else:
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
            await connection.execute(text("SET LOCAL enable_bitmapscan = off"))
            plan = "\n".join(row[0] for row in await connection.exec_driver_sql(f"EXPLAIN {sql}", given))
            assert re.search(rf"using {index} on [^\n]*\n *Index Cond: [^\n]*\b{column}\b", plan), plan
