from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tenants.shop import Shop, open_shop

from callboard.contacts.model import Consent, ConsentSource, ImportReport, RowError
from callboard.contacts.service import ContactChanges, ContactService, ImportService
from callboard.errors import AlreadyExists, InvalidInput, NotFound
from callboard.values import Phone

ASHA = Phone("+919876543210")


def contacts(shop: Shop) -> ContactService:
    return ContactService(work=shop.store.work, clock=shop.clock, ids=shop.ids)


def imports(shop: Shop, batch_size: int = 3) -> ImportService:
    return ImportService(work=shop.store.work, clock=shop.clock, batch_size=batch_size)


phones = st.integers(0, 6).map(lambda n: f"987654321{n}") | st.sampled_from(["junk", "", "+447700900123", "4.4E+11"])
rows = st.lists(
    st.fixed_dictionaries(
        {
            "phone": phones,
            "firstName": st.sampled_from(["", "A", "B"]),
            "smsConsent": st.sampled_from(["", "yes", "no", "?!"]),
        }
    ),
    max_size=25,
)


def check_sums(report: ImportReport, n: int) -> None:
    assert report.total == n
    assert report.created + report.updated + report.skipped + report.invalid == n
    assert len(report.errors) == report.skipped + report.invalid
    assert all(error.reason for error in report.errors)


@given(rows, rows, st.integers(1, 30))
async def test_import_sums_add_up_and_a_dry_run_says_the_same_and_writes_nothing(
    before: list[dict[str, str | None]], table: list[dict[str, str | None]], batch: int
) -> None:
    shop = await open_shop()
    service = imports(shop, batch)
    await service.run(shop.tenant, list(enumerate(before, 2)))
    dry = await service.run(shop.tenant, list(enumerate(table, 2)), dry_run=True)
    wet = await service.run(shop.tenant, list(enumerate(table, 2)))
    check_sums(wet, len(table))
    assert (dry.total, dry.created, dry.updated, dry.skipped, dry.invalid) == (
        wet.total,
        wet.created,
        wet.updated,
        wet.skipped,
        wet.invalid,
    )
    assert dry.errors == wet.errors
    again = await service.run(shop.tenant, list(enumerate(table, 2)))
    assert (again.created, again.updated) == (0, wet.created + wet.updated)
    assert again.errors == wet.errors


async def test_the_first_of_two_duplicate_rows_wins_and_the_second_has_a_reason() -> None:
    shop = await open_shop()
    report = await imports(shop).run(
        shop.tenant,
        [(2, {"phone": "9876543210", "firstName": "First"}), (3, {"phone": "+91 98765 43210", "firstName": "Second"})],
    )
    assert (report.created, report.skipped) == (1, 1)
    assert report.errors == (RowError(line=3, field="phone", value=ASHA.e164, reason="duplicate"),)
    async with shop.store.work(shop.tenant) as w:
        contact = await w.contacts.by_phone(ASHA.e164)
    assert contact is not None
    assert contact.first_name == "First"


async def test_a_dry_run_of_an_empty_store_creates_no_contact() -> None:
    shop = await open_shop()
    report = await imports(shop).run(shop.tenant, [(2, {"phone": "9876543210"})], dry_run=True)
    assert (report.created, report.dry_run) == (1, True)
    async with shop.store.work(shop.tenant) as w:
        assert await w.contacts.by_phone(ASHA.e164) is None


async def test_an_import_never_upgrades_opted_out_and_an_absent_column_changes_nothing() -> None:
    shop = await open_shop()
    service = contacts(shop)
    await service.create(shop.tenant, ContactChanges(phone=ASHA, first_name="Asha", consent=Consent.OPTED_IN))
    await service.opt_out(shop.tenant, ASHA.e164, source=ConsentSource.INBOUND, evidence="STOP")
    await imports(shop).run(shop.tenant, [(2, {"phone": ASHA.e164, "smsConsent": "opted_in"})])
    async with shop.store.work(shop.tenant) as w:
        contact = await w.contacts.by_phone(ASHA.e164)
    assert contact is not None
    assert (contact.consent, contact.first_name) == (Consent.OPTED_OUT, "Asha")


async def test_a_file_without_phones_is_refused_and_writes_nothing() -> None:
    shop = await open_shop()
    with pytest.raises(InvalidInput) as caught:
        await imports(shop).run(shop.tenant, [(2, {"email": "a@b.co"})], headers=["email"])
    assert caught.value.field == "file"


async def test_broken_rows_of_the_reader_are_invalid_rows() -> None:
    shop = await open_shop()
    broken = RowError(line=3, field="row", value="x", reason="More cells than the header's 1 columns")
    report = await imports(shop).run(shop.tenant, [(2, {"phone": "9876543210"}), (3, broken)])
    assert (report.created, report.invalid, report.errors) == (1, 1, (broken,))


async def test_progress_is_told_after_every_batch() -> None:
    shop = await open_shop()
    seen: list[int] = []
    rows = [(n + 2, {"phone": f"987654321{n}"}) for n in range(7)]
    report = await imports(shop).run(shop.tenant, rows, progress=lambda part: seen.append(part.total))
    assert seen == [3, 6, 7]
    assert report.created == 7


async def test_only_the_first_thousand_errors_are_kept_and_all_are_counted() -> None:
    shop = await open_shop()
    report = await imports(shop).run(shop.tenant, [(n, {"phone": "junk"}) for n in range(2, 1502)])
    assert (report.invalid, len(report.errors)) == (1500, 1000)


async def test_the_memory_of_an_import_is_a_few_bytes_per_phone() -> None:
    shop = await open_shop()
    n = 60_000

    def table() -> Iterator[tuple[int, dict[str, str | None]]]:
        for i in range(n):
            yield i + 2, {"phone": f"+9198{i:08d}"}

    service = imports(shop, 1_000)
    await service.run(shop.tenant, [(2, {"phone": "9876543210"})], dry_run=True)
    tracemalloc.start()
    try:
        report = await service.run(shop.tenant, table(), dry_run=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.created == n
    assert peak < 100 * n + 2_000_000  # 100 MB for a million


async def test_two_tenants_with_the_same_contacts_never_see_each_other() -> None:
    shop = await open_shop()
    service = contacts(shop)
    mine = await service.create(shop.tenant, ContactChanges(phone=ASHA))
    theirs = await service.create(shop.other, ContactChanges(phone=ASHA))
    for attempt in (
        service.get(shop.other, mine.id),
        service.update(shop.other, mine.id, ContactChanges(first_name="x")),
        service.delete(shop.other, mine.id),
    ):
        with pytest.raises(NotFound):
            await attempt
    await service.opt_out(shop.tenant, ASHA.e164, source=ConsentSource.INBOUND)
    assert (await service.get(shop.other, theirs.id)).consent is Consent.UNKNOWN
    async with shop.store.work(shop.other) as w:
        assert not await w.contacts.suppressed([ASHA.e164])


async def test_stop_is_scoped_to_the_tenant_and_suppresses_even_unknown_numbers() -> None:
    shop = await open_shop()
    service = contacts(shop)
    assert await service.opt_out(shop.tenant, ASHA.e164, source=ConsentSource.INBOUND) is True
    assert await service.opt_out(shop.tenant, ASHA.e164, source=ConsentSource.INBOUND) is False
    created = await service.create(shop.tenant, ContactChanges(phone=ASHA, consent=Consent.OPTED_IN))
    assert created.consent is Consent.OPTED_OUT
    assert await service.opt_in(shop.tenant, ASHA.e164, source=ConsentSource.INBOUND, evidence="START") is True
    assert (await service.get(shop.tenant, created.id)).consent is Consent.OPTED_IN
    async with shop.store.work(shop.tenant) as w:
        assert not await w.contacts.suppressed([ASHA.e164])
        said = [record.consent for record in await w.contacts.consent_history(ASHA.e164)]
    assert said == [Consent.OPTED_OUT, Consent.OPTED_OUT, Consent.OPTED_IN]


async def test_deleting_and_adding_again_is_no_way_round_an_opt_out() -> None:
    shop = await open_shop()
    service = contacts(shop)
    first = await service.create(shop.tenant, ContactChanges(phone=ASHA, consent=Consent.OPTED_IN))
    await service.update(shop.tenant, first.id, ContactChanges(consent=Consent.OPTED_OUT))
    await service.delete(shop.tenant, first.id)
    again = await service.create(shop.tenant, ContactChanges(phone=ASHA, consent=Consent.OPTED_IN))
    assert again.consent is Consent.OPTED_OUT
    lifted = await service.update(shop.tenant, again.id, ContactChanges(consent=Consent.OPTED_IN))
    assert lifted.consent is Consent.OPTED_IN
    async with shop.store.work(shop.tenant) as w:
        assert not await w.contacts.suppressed([ASHA.e164])


async def test_a_phone_is_unique_among_live_contacts_and_required() -> None:
    shop = await open_shop()
    service = contacts(shop)
    await service.create(shop.tenant, ContactChanges(phone=ASHA))
    with pytest.raises(AlreadyExists):
        await service.create(shop.tenant, ContactChanges(phone=ASHA))
    with pytest.raises(InvalidInput):
        await service.create(shop.tenant, ContactChanges(first_name="nobody"))
    other = await service.create(shop.tenant, ContactChanges(phone=Phone("+919876543211")))
    with pytest.raises(AlreadyExists):
        await service.update(shop.tenant, other.id, ContactChanges(phone=ASHA))
    with pytest.raises(InvalidInput):
        await service.update(shop.tenant, other.id, ContactChanges(phone=None))


async def test_a_partial_update_changes_what_is_given_and_none_empties() -> None:
    shop = await open_shop()
    service = contacts(shop)
    made = await service.create(
        shop.tenant, ContactChanges(phone=ASHA, first_name="Asha", email="a@example.com", birth_date=date(1990, 1, 1))
    )
    after = await service.update(shop.tenant, made.id, ContactChanges(email=None, last_name="<b>P</b>"))
    assert (after.first_name, after.email, after.last_name) == ("Asha", None, "<b>P</b>")
    assert after.birth_date == date(1990, 1, 1)


async def test_moving_a_contact_to_a_suppressed_number_opts_it_out() -> None:
    shop = await open_shop()
    service = contacts(shop)
    await service.opt_out(shop.tenant, ASHA.e164, source=ConsentSource.INBOUND)
    made = await service.create(shop.tenant, ContactChanges(phone=Phone("+919876543219"), consent=Consent.OPTED_IN))
    assert (await service.update(shop.tenant, made.id, ContactChanges(phone=ASHA))).consent is Consent.OPTED_OUT


async def test_an_imported_opt_out_survives_deleting_and_importing_again() -> None:
    shop = await open_shop()
    out: dict[str, str | None] = {"phone": ASHA.e164, "smsConsent": "opted_out"}
    back: dict[str, str | None] = {"phone": ASHA.e164, "smsConsent": "opted_in"}
    await imports(shop).run(shop.tenant, [(2, out)])
    async with shop.store.work(shop.tenant) as w:
        found = await w.contacts.by_phone(ASHA.e164)
    assert found is not None
    await contacts(shop).delete(shop.tenant, found.id)
    await imports(shop).run(shop.tenant, [(2, back)])
    async with shop.store.work(shop.tenant) as w:
        again = await w.contacts.by_phone(ASHA.e164)
    assert again is not None
    assert again.consent is Consent.OPTED_OUT
