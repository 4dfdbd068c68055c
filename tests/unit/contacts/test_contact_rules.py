from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.contacts import rules
from callboard.contacts.messages import ContactOptedIn, ContactOptedOut, ContactUpdated
from callboard.contacts.model import Consent, ConsentSource, Contact, ContactRow, Gender
from callboard.errors import InvalidInput
from callboard.ids import ContactId
from callboard.values import Phone

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = THEN + timedelta(days=3)
PHONE = Phone("+919876543210")
CONTACT = Contact(id=ContactId(UUID(int=7)), phone=PHONE, first_name="Asha", created_at=THEN, updated_at=THEN)

names = st.none() | st.text(max_size=5)
rows = st.builds(
    ContactRow,
    line=st.just(2),
    phone=st.just(PHONE),
    first_name=names,
    last_name=names,
    gender=st.none() | st.sampled_from(Gender),
    birth_date=st.none() | st.dates(),
    consent=st.none() | st.sampled_from(Consent),
    tags=st.none() | st.frozensets(st.sampled_from("abc")),
)


@given(st.lists(rows, max_size=6), st.sampled_from(Consent), st.booleans())
def test_an_import_never_turns_opted_out_into_opted_in(
    many: list[ContactRow], start: Consent, suppressed: bool
) -> None:
    contact = attrs.evolve(CONTACT, consent=start)
    for row in many:
        merged = rules.merge(contact, row, NOW, suppressed=suppressed)
        if contact.consent is Consent.OPTED_OUT or suppressed:
            assert merged.consent is Consent.OPTED_OUT
        contact = merged


@given(rows)
def test_what_a_row_does_not_say_stays(row: ContactRow) -> None:
    before = attrs.evolve(CONTACT, last_name="P", gender=Gender.OTHER, tags=frozenset("z"), consent=Consent.OPTED_IN)
    merged = rules.merge(before, row, NOW)
    for name in ("first_name", "last_name", "gender", "birth_date", "tags"):
        said = getattr(row, name)
        assert getattr(merged, name) == (getattr(before, name) if said is None else said)
    if row.consent in {None, Consent.UNKNOWN}:
        assert merged.consent is before.consent


@given(rows)
def test_importing_a_row_again_is_harmless(row: ContactRow) -> None:
    once = rules.merge(CONTACT, row, NOW)
    assert rules.merge(once, row, NOW + timedelta(days=1)) is once
    first = rules.first_import(row, contact_id=CONTACT.id, now=NOW)
    assert rules.merge(first, row, NOW + timedelta(days=1)) is first


@given(rows, st.booleans())
def test_every_imported_change_of_consent_is_recorded_and_nothing_else(row: ContactRow, known: bool) -> None:
    before = CONTACT if known else None
    after = rules.merge(CONTACT, row, NOW) if known else rules.first_import(row, contact_id=CONTACT.id, now=NOW)
    record = rules.consent_imported(before, after, NOW)
    assert (record is not None) == (after.consent is not Consent.UNKNOWN)
    if record is not None:
        assert (record.consent, record.source, record.phone) == (after.consent, ConsentSource.IMPORT, PHONE.e164)


def test_consent_without_a_column_is_unknown() -> None:
    row = ContactRow(line=2, phone=PHONE)
    assert rules.first_import(row, contact_id=CONTACT.id, now=NOW).consent is Consent.UNKNOWN


def test_a_suppressed_number_is_imported_opted_out() -> None:
    row = ContactRow(line=2, phone=PHONE, consent=Consent.OPTED_IN)
    assert rules.first_import(row, contact_id=CONTACT.id, now=NOW, suppressed=True).consent is Consent.OPTED_OUT


def test_opting_out_is_recorded_and_told_once() -> None:
    said = {"source": ConsentSource.INBOUND, "evidence": "STOP", "now": NOW}
    first = rules.opt_out(CONTACT, PHONE.e164, new=True, **said)  # type: ignore[arg-type]
    assert first.contact is not None
    assert first.contact.consent is Consent.OPTED_OUT
    assert first.events == (ContactOptedOut(contact_id=CONTACT.id, source=ConsentSource.INBOUND),)
    assert first.record is not None
    again = rules.opt_out(first.contact, PHONE.e164, new=False, **said)  # type: ignore[arg-type]
    assert (again.record, again.events) == (None, ())


def test_a_number_that_is_no_contact_can_opt_out_and_in_again() -> None:
    out = rules.opt_out(None, PHONE.e164, source=ConsentSource.INBOUND, evidence=None, now=NOW, new=True)
    assert (out.contact, out.record is not None, len(out.events)) == (None, True, 1)
    back = rules.opt_in(None, PHONE.e164, source=ConsentSource.INBOUND, evidence=None, now=NOW, lifted=True)
    assert back.events == (ContactOptedIn(contact_id=None, source=ConsentSource.INBOUND),)
    nothing = rules.opt_in(None, PHONE.e164, source=ConsentSource.INBOUND, evidence=None, now=NOW, lifted=False)
    assert (nothing.record, nothing.events) == (None, ())


def test_an_edit_tells_which_fields_changed_and_consent_apart() -> None:
    after = attrs.evolve(CONTACT, last_name="Patel", consent=Consent.OPTED_IN)
    decision = rules.change(CONTACT, after, source=ConsentSource.API, now=NOW)
    assert decision.events == (
        ContactUpdated(contact_id=CONTACT.id, fields=("last_name",)),
        ContactOptedIn(contact_id=CONTACT.id, source=ConsentSource.API),
    )
    assert rules.change(CONTACT, CONTACT, source=ConsentSource.API, now=NOW).events == ()


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("firstName", {"first_name": "x" * 201}),
        ("lastName", {"last_name": "\x00"}),
        ("email", {"email": "nobody"}),
        ("birthDate", {"birth_date": date(2026, 1, 5)}),
        ("birthDate", {"birth_date": date(1899, 12, 31)}),
        ("tags", {"tags": frozenset({""})}),
    ],
)
def test_what_a_contact_cannot_be_is_refused_by_field(field: str, values: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        rules.check(attrs.evolve(CONTACT, **values), NOW)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_events_carry_no_personal_data() -> None:
    decision = rules.create(
        attrs.evolve(CONTACT, consent=Consent.OPTED_IN), source=ConsentSource.API, now=NOW, suppressed=False
    )
    assert PHONE.e164 not in repr(decision.events)
    assert "Asha" not in repr(decision.events)
