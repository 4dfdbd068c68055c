from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callboard import values
from callboard.errors import InvalidInput
from callboard.values import Phone, clean_text, parse_phone

REGIONS = ("IN", "US", "CA", "GB", "GR", "DE", "IT", "AE", "AU", "SG", "BR", "RU", "HU", "MX", "AR", "FR", "JE", "KZ")
written = st.text(alphabet="0123456789+-. ()", max_size=18) | st.text(max_size=12)


def national_numbers(region: str) -> st.SearchStrategy[str]:
    kinds = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)
    bases = [
        phonenumbers.national_significant_number(found)
        for kind in kinds
        if (found := phonenumbers.example_number_for_type(region, kind)) is not None
    ]
    return st.tuples(st.sampled_from(bases), st.integers(0, 8), st.text(alphabet="0123456789", max_size=10)).map(
        lambda parts: (parts[0][: len(parts[0]) - parts[1]] + parts[2])[:14] or "0"
    )


regional = st.sampled_from(REGIONS).flatmap(lambda region: st.tuples(st.just(region), national_numbers(region)))


@pytest.mark.parametrize(
    "spelling",
    [
        "9876543210",
        "09876543210",
        "919876543210",
        "00919876543210",
        "+919876543210",
        "+91 98765-43210",
        "(98765) 43210",
    ],
)
def test_the_spellings_of_an_indian_mobile_are_one_number(spelling: str) -> None:
    assert parse_phone(spelling, "IN") == Phone("+919876543210")


def test_the_contracts_british_number_is_possible_and_not_valid() -> None:
    assert parse_phone("+44 7700 900123", "IN") == Phone("+447700900123", valid=False)


@pytest.mark.parametrize(
    "junk",
    [
        "",
        " ",
        "junk",
        "987654321",
        "98765432101",
        "+91919876543210",
        "91919876543210",
        "+9198765432101",
        "+91987654321",
        "9876543210 ext 5",
        "９８７６５４３２１０",
        "٩٨٧٦٥٤٣٢١٠",
        "1e10",
        "4.47E+11",
        "5876543210",
        "12345678901234567890",
        "+0123456789",
        "++919876543210",
        "+",
        "100",
        "\u0000",
        "+1",
        "+9999999999",
    ],
)
def test_no_provider_call_with_an_invalid_destination(junk: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_phone(junk, "IN", field="to")
    assert caught.value.field == "to"


@given(written, st.sampled_from(REGIONS))
@example("54 9 11 2345 6789", "AR")
@example("0 6 1234567", "HU")
def test_the_phone_normaliser_is_idempotent_and_never_yields_an_invalid_destination(text: str, region: str) -> None:
    try:
        phone = parse_phone(text, region)
    except InvalidInput:
        return
    assert parse_phone(phone.e164, region) == phone
    number = phonenumbers.parse(phone.e164, None)
    assert phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    assert phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) == phone.e164
    assert phonenumbers.is_valid_number(number) == phone.valid


@given(regional)
def test_regional_numbers_are_idempotent_in_every_region(case: tuple[str, str]) -> None:
    region, national = case
    for text in (national, f"0{national}", f"+{phonenumbers.country_code_for_region(region)}{national}"):
        try:
            phone = parse_phone(text, region)
        except InvalidInput:
            continue
        assert {parse_phone(phone.e164, other) for other in REGIONS} == {phone}


@given(regional, st.sampled_from(["", "0", "1", "8", "06"]))
def test_the_fast_path_says_what_libphonenumber_says(case: tuple[str, str], prefix: str) -> None:
    region, national = case
    at_home = prefix + national
    abroad = f"+{phonenumbers.country_code_for_region(region)}{national}"
    if (quick := values._quick_national(at_home, region)) is not None:
        assert quick == values._slow(at_home, region)
    if values._INTERNATIONAL.fullmatch(abroad) and (quick := values._quick_international(abroad)) is not None:
        assert quick == values._slow(abroad, None)


def test_the_fast_path_takes_the_common_shapes() -> None:
    for text in ("+919876543210", "+306912345678", "+447400123456", "+12025550123", "+971501234567"):
        assert values._quick_international(text) is not None, text
    for text, region in (("6912345678", "GR"), ("07400123456", "GB"), ("2025550123", "US"), ("0501234567", "AE")):
        assert values._quick_national(text, region) is not None, text


def test_a_number_that_only_works_locally_is_no_destination() -> None:
    with pytest.raises(InvalidInput):
        parse_phone("2530000", "US")


def test_a_masked_phone_shows_two_digits() -> None:
    assert Phone("+919876543210").masked() == "***10"


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "x" * 11, "   ", ""])
def test_clean_text_refuses_what_a_database_cannot_hold(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        clean_text(text, field="name", max_length=10, min_length=1)
    assert caught.value.field == "name"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=50))
def test_text_is_stored_as_given(text: str) -> None:
    assert clean_text(text, field="name", max_length=50) == text
