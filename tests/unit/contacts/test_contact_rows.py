from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.contacts.model import Consent, ContactRow, Gender, RowError
from callboard.contacts.rows import check_headers, read_row, row_error
from callboard.errors import InvalidInput

PHONE = "9876543210"


def read(**cells: str | None) -> ContactRow:
    row = read_row({"phone": PHONE, **cells}, 2, "IN", today=date(2026, 11, 20))
    assert isinstance(row, ContactRow), row
    return row


def refuse(**cells: str | None) -> RowError:
    row = read_row({"phone": PHONE, **cells}, 7, "IN", today=date(2026, 11, 20))
    assert isinstance(row, RowError), row
    assert row.line == 7
    return row


@pytest.mark.parametrize(
    "header",
    ["phoneE164", "phone", "Phone Number", "MOBILE", "mobile_no", " Cell ", "WhatsApp Number", "Phone 1 - Value"],
)
def test_phone_columns_are_found_by_synonyms(header: str) -> None:
    check_headers([header, "x"])
    row = read_row({header: PHONE, "x": "y"}, 2, "IN")
    assert isinstance(row, ContactRow)
    assert row.phone.e164 == "+919876543210"


def test_a_file_without_a_phone_column_is_refused_before_any_row() -> None:
    with pytest.raises(InvalidInput, match="email") as caught:
        check_headers(["email", "firstName"])
    assert caught.value.field == "file"


def test_every_documented_column_is_read() -> None:
    row = read(
        firstName="Asha",
        lastName="Patel",
        email="asha@example.com",
        gender="F",
        birthDate="1990-05-04",
        smsConsent="yes",
        tags="vip; tea , vip",
    )
    assert (row.first_name, row.last_name, row.email) == ("Asha", "Patel", "asha@example.com")
    assert (row.gender, row.birth_date, row.consent) == (Gender.FEMALE, date(1990, 5, 4), Consent.OPTED_IN)
    assert row.tags == frozenset({"vip", "tea"})


def test_an_absent_column_and_an_empty_cell_change_nothing() -> None:
    row = read(firstName="", lastName=None, email="  ", gender="", birthDate="", smsConsent="", tags=" ")
    values = (row.first_name, row.last_name, row.email, row.gender, row.birth_date, row.consent, row.tags)
    assert values == (None,) * 7


def test_the_second_synonym_counts_when_the_first_is_empty() -> None:
    row = read_row({"mobile": "", "telephone": PHONE}, 2, "IN")
    assert isinstance(row, ContactRow)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1990-05-04", date(1990, 5, 4)),
        ("19900504", date(1990, 5, 4)),
        ("1990/5/4", date(1990, 5, 4)),
        ("1990-05-04T00:00:00Z", date(1990, 5, 4)),
        ("31/12/1990", date(1990, 12, 31)),
        ("12/31/1990", date(1990, 12, 31)),
        ("05/05/1990", date(1990, 5, 5)),
        ("4.5.1990", date(1990, 5, 4)),
        ("4 May 1990", date(1990, 5, 4)),
        ("04-May-1990", date(1990, 5, 4)),
        ("May 4, 1990", date(1990, 5, 4)),
        ("2000-02-29", date(2000, 2, 29)),
    ],
)
def test_dates_that_can_be_read_in_one_way_are_read(text: str, expected: date) -> None:
    assert read(birthDate=text).birth_date == expected


@pytest.mark.parametrize(
    "text",
    [
        "04/05/1990",
        "2025-02-29",
        "31/31/1990",
        "4/5/90",
        "34567",
        "0001-01-01",
        "9999-12-31",
        "2026-11-21",
        "soon",
        "1990-13-01",
        "1990-W05-1",
        "４.５.1990",
    ],
)
def test_a_date_that_is_ambiguous_or_impossible_makes_the_row_invalid(text: str) -> None:
    assert refuse(birthDate=text).field == "birthDate"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("male", Gender.MALE), ("M", Gender.MALE), ("Woman", Gender.FEMALE), ("x", Gender.OTHER), ("unknown", None)],
)
def test_gender_words(text: str, expected: Gender | None) -> None:
    assert read(gender=text).gender is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((word, Consent.OPTED_IN) for word in ("opted_in", "Opted-In", "opt in", "YES", "true", "1", "subscribed")),
        *((word, Consent.OPTED_OUT) for word in ("opted_out", "no", "FALSE", "0", "unsubscribed", "STOP")),
        *((word, None) for word in ("unknown", "n/a", "-")),
    ],
)
def test_consent_words(text: str, expected: Consent | None) -> None:
    assert read(smsConsent=text).consent is expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gender", "purple"),
        ("smsConsent", "maybe"),
        ("email", "not an address"),
        ("email", "a@b"),
        ("firstName", "x" * 201),
        ("firstName", "a\x00b"),
        ("tags", ",".join(f"t{n}" for n in range(51))),
    ],
)
def test_a_cell_that_cannot_be_understood_makes_the_row_invalid_and_is_named(field: str, value: str) -> None:
    error = refuse(**{field: value})
    assert error.field == field
    assert error.reason
    assert len(error.value) <= 64
    assert "\x00" not in error.value


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        ("4.47E+11", "rounded"),
        ("9,88E+09", "rounded"),
        ("=HYPERLINK(A1)", "formula"),
        ('="9876543210"', "formula"),
        ("", "missing"),
    ],
)
def test_what_a_spreadsheet_did_to_a_phone_is_said_in_the_reason(cell: str, word: str) -> None:
    error = refuse(phone=cell)
    assert word in error.reason
    assert error.field == "phone"


@pytest.mark.parametrize("cell", ["9876543210.0", "'+919876543210", " 98765 43210 ", "+91-98765-43210"])
def test_harmless_spreadsheet_forms_of_a_phone_are_read(cell: str) -> None:
    assert read(phone=cell).phone.e164 == "+919876543210"


def test_names_starting_like_formulas_are_stored_as_given() -> None:
    assert read(firstName='=cmd|"/c calc"!A1').first_name == '=cmd|"/c calc"!A1'
    assert read(firstName="<b>O'Neil & 😀</b>").first_name == "<b>O'Neil & 😀</b>"


@given(
    st.dictionaries(
        st.sampled_from(["phone", "email", "dob", "sex", "consent", "tags", "name", "x"]), st.text(), min_size=1
    )
)
def test_any_cells_at_all_give_a_row_or_an_error(cells: dict[str, str]) -> None:
    row = read_row(cells, 3, "IN")
    assert row.line == 3
    if isinstance(row, RowError):
        row.value.encode()
        assert row.reason


def test_a_shown_value_is_short_and_can_be_stored() -> None:
    error = row_error(1, "f" * 100, "\ud800\x00" + "y" * 100, "r")
    assert len(error.field) <= 64
    assert len(error.value) <= 64
    error.value.encode()
