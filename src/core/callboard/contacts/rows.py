"""Reading one row of an import: which column is which, and what a cell may say; contracts/README.md section 4.

Nothing is guessed: a cell that cannot be understood makes its row invalid with a reason, an empty cell changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import Final

import attrs

from callboard.contacts.model import Consent, ContactRow, Gender, RowError
from callboard.errors import InvalidInput
from callboard.values import Phone, clean_text, parse_phone

DUPLICATE: Final = "duplicate"
"""Reason of a row whose phone stood earlier in the file: the first row wins."""

MAX_NAME: Final = 200
MAX_EMAIL: Final = 254
MAX_TAGS: Final = 50
MAX_TAG: Final = 64
MAX_SHOWN: Final = 64
EARLIEST_BIRTH: Final = date(1900, 1, 1)

_SYNONYMS: Final[Mapping[str, list[str]]] = {
    "phone": [
        "phonee164",
        "phone",
        "mobile",
        "cell",
        "phonenumber",
        "mobilenumber",
        "mobilephone",
        "cellphone",
        "cellnumber",
        "phoneno",
        "mobileno",
        "contactnumber",
        "contactno",
        "whatsapp",
        "whatsappnumber",
        "telephone",
        "telephonenumber",
        "tel",
        "msisdn",
        "phone1value",
    ],
    "first_name": ["firstname", "givenname", "forename", "fname", "first", "name", "fullname", "customername"],
    "last_name": ["lastname", "surname", "familyname", "lname", "last"],
    "email": ["email", "emailaddress", "mail", "emailid"],
    "gender": ["gender", "sex"],
    "birth_date": ["birthdate", "dob", "dateofbirth", "birthday", "born"],
    "consent": [
        "smsconsent",
        "consent",
        "optin",
        "optinstatus",
        "smsoptin",
        "marketingconsent",
        "smsmarketingconsent",
        "acceptssmsmarketing",
        "acceptsmarketing",
        "subscribed",
        "issubscribed",
        "smssubscribed",
    ],
    "tags": ["tags", "tag", "labels", "label", "groups"],
}
_FIELD_OF: Final = {name: (field, rank) for field, names in _SYNONYMS.items() for rank, name in enumerate(names)}

_GENDERS: Final[Mapping[str, Gender | None]] = {
    **dict.fromkeys(("male", "m", "man", "men", "boy", "mr"), Gender.MALE),
    **dict.fromkeys(("female", "f", "w", "woman", "women", "girl", "ms", "mrs"), Gender.FEMALE),
    **dict.fromkeys(("other", "o", "x", "nonbinary", "non-binary", "diverse", "d"), Gender.OTHER),
    **dict.fromkeys(("unknown", "u", "n/a", "na", "none", "null", "-", "?", "not specified"), None),
}
_CONSENTS: Final[Mapping[str, Consent | None]] = {
    **dict.fromkeys(
        ("opted_in", "optedin", "opt_in", "optin", "in", "yes", "y", "true", "t", "1", "on", "subscribed", "granted"),
        Consent.OPTED_IN,
    ),
    **dict.fromkeys(
        (
            *("opted_out", "optedout", "opt_out", "optout", "out", "no", "n", "false", "f", "0", "off", "stop"),
            *("unsubscribed", "not_subscribed", "revoked", "denied"),
        ),
        Consent.OPTED_OUT,
    ),
    **dict.fromkeys(("unknown", "n/a", "na", "none", "null", "-", "?", "pending"), None),
}
_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            *("jan january", "feb february", "mar march", "apr april", "may", "jun june"),
            *("jul july", "aug august", "sep sept september", "oct october", "nov november", "dec december"),
        ),
        start=1,
    )
    for name in names.split()
}
_NUMERIC_DATE: Final = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})", re.ASCII)
_YEAR_FIRST: Final = re.compile(r"(\d{4})([/.-]?)(\d{1,2})\2(\d{1,2})(?:[T ][0-9:.]+(?:Z|[+-][0-9:]+)?)?", re.ASCII)
_DAY_NAMED: Final = re.compile(r"(\d{1,2})[ -]([A-Za-z]{3,9})\.?,?[ -](\d{4})", re.ASCII)
_MONTH_NAMED: Final = re.compile(r"([A-Za-z]{3,9})\.? (\d{1,2}),? (\d{4})", re.ASCII)
_ROUNDED: Final = re.compile(r"[+-]?\d+(?:[.,]\d+)?[eE][+-]?\d+", re.ASCII)
_FLOATED: Final = re.compile(r"\+?\d+\.0", re.ASCII)
_EMAIL: Final = re.compile(r"[^\s@<>,;:\"()\[\]\\]+@[^\s@<>,;:\"()\[\]\\.]+(?:\.[^\s@<>,;:\"()\[\]\\.]+)+")
_TAG_SEPARATORS: Final = re.compile("[,;|\n]")


@attrs.frozen
class Columns:
    """Which headers of a file hold which field, best first; other columns are ignored."""

    phone: tuple[str, ...]
    first_name: tuple[str, ...]
    last_name: tuple[str, ...]
    email: tuple[str, ...]
    gender: tuple[str, ...]
    birth_date: tuple[str, ...]
    consent: tuple[str, ...]
    tags: tuple[str, ...]


@lru_cache(maxsize=64)
def columns_of(headers: tuple[str, ...]) -> Columns:
    """Match headers by synonyms, whatever their case, spaces and punctuation."""
    found: dict[str, list[tuple[int, str]]] = {field: [] for field in _SYNONYMS}
    for header in headers:
        name = "".join(ch for ch in header.casefold() if ch.isalnum())
        if name in _FIELD_OF:
            field, rank = _FIELD_OF[name]
            found[field].append((rank, header))
    return Columns(**{field: tuple(header for _, header in sorted(named)) for field, named in found.items()})


def check_headers(headers: Iterable[str]) -> None:
    """Refuse a file without a phone column before any row is read: InvalidInput for ``file``."""
    named = tuple(headers)
    if not columns_of(named).phone:
        shown = ", ".join(header[:40] for header in named[:12]) or "nothing"
        raise InvalidInput(f"There is no phone column (phoneE164, phone, mobile, …); found: {shown}", field="file")


def read_row(
    cells: Mapping[str, str | None], line: int, region: str, *, today: date | None = None
) -> ContactRow | RowError:
    """Read the cells of one row, keyed by the file's own headers. ``region`` is the tenant's (ISO 3166 alpha-2).

    With ``today`` nobody is born later than that.

    A :class:`RowError` names the header as the file has it. Names keep their inner text; the blanks that spreadsheets
    leave round a cell go.
    """
    columns = columns_of(tuple(cells))
    header = "phoneE164"
    text = ""
    try:
        header, text = _cell(cells, columns.phone) or (columns.phone[0] if columns.phone else header, "")
        phone = read_phone(text, region)
        first_name = last_name = email = gender = birth_date = consent = tags = None
        if columns.first_name and (cell := _cell(cells, columns.first_name)):
            header, text = cell
            first_name = _name(text)
        if columns.last_name and (cell := _cell(cells, columns.last_name)):
            header, text = cell
            last_name = _name(text)
        if columns.email and (cell := _cell(cells, columns.email)):
            header, text = cell
            email = read_email(text)
        if columns.gender and (cell := _cell(cells, columns.gender)):
            header, text = cell
            gender = read_gender(text)
        if columns.birth_date and (cell := _cell(cells, columns.birth_date)):
            header, text = cell
            birth_date = read_birth_date(text, today)
        if columns.consent and (cell := _cell(cells, columns.consent)):
            header, text = cell
            consent = read_consent(text)
        if columns.tags and (cell := _cell(cells, columns.tags)):
            header, text = cell
            tags = read_tags(text)
    except InvalidInput as refusal:
        return row_error(line, header, text, refusal.message)
    return ContactRow(
        line=line,
        phone=phone,
        first_name=first_name,
        last_name=last_name,
        email=email,
        gender=gender,
        birth_date=birth_date,
        consent=consent,
        tags=tags,
    )


def row_error(line: int, field: str, value: str, reason: str) -> RowError:
    """An error with its value cut to what a person needs to find the cell, and fit to be stored and shown."""
    shown = value if len(value) <= MAX_SHOWN else value[: MAX_SHOWN - 1] + "…"
    safe = shown.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return RowError(line=line, field=field[:MAX_SHOWN], value=safe, reason=reason)


def _cell(cells: Mapping[str, str | None], headers: tuple[str, ...]) -> tuple[str, str] | None:
    """The first of these columns that is not empty."""
    for header in headers:
        value = cells[header]
        if value is not None and (text := value.strip()):
            return header, text
    return None


def _name(text: str) -> str:
    return clean_text(text, field="name", max_length=MAX_NAME)


def read_phone(text: str, region: str) -> Phone:
    """A phone cell. What a spreadsheet did to it is said in the reason, never guessed back."""
    if not text:
        raise InvalidInput("The phone is missing", field="phone")
    if text[0] in "='" or text[-1] == "0":
        if text[0] == "=":
            raise InvalidInput("This is a formula, not a phone number", field="phone")
        text = text.lstrip("'")  # the mark for "text" in spreadsheets, also written by our own exports
        if _FLOATED.fullmatch(text):  # a number column written as decimals
            text = text[:-2]
    try:
        return parse_phone(text, region)
    except InvalidInput:
        if _ROUNDED.fullmatch(text):
            message = "A spreadsheet rounded this number: format the column as text and export it again"
            raise InvalidInput(message, field="phone") from None
        raise


def read_email(text: str) -> str:
    """An address with a plain local part and a dotted domain; the text as given."""
    if len(text) > MAX_EMAIL or not _EMAIL.fullmatch(text):
        raise InvalidInput("Not an email address", field="email")
    return clean_text(text, field="email", max_length=MAX_EMAIL)


def read_gender(text: str) -> Gender | None:
    """A gender word; None for the words that mean "not known"."""
    try:
        return _GENDERS[text.lower()]
    except KeyError:
        raise InvalidInput("Not a known gender (male, female, other, unknown)", field="gender") from None


def read_consent(text: str) -> Consent | None:
    """A consent word; None for the words that say nothing, so that they change nothing."""
    try:
        return _CONSENTS[text.lower().replace(" ", "_").replace("-", "_") if len(text) > 1 else text.lower()]
    except KeyError:
        raise InvalidInput("Not a known consent (opted_in, opted_out, yes, no, …)", field="smsConsent") from None


def read_tags(text: str) -> frozenset[str]:
    """Tags separated by commas, semicolons, bars or lines."""
    tags = frozenset(tag for part in _TAG_SEPARATORS.split(text) if (tag := part.strip()))
    if len(tags) > MAX_TAGS or any(len(tag) > MAX_TAG for tag in tags):
        raise InvalidInput(f"At most {MAX_TAGS} tags of {MAX_TAG} characters", field="tags")
    for tag in tags:
        clean_text(tag, field="tags", max_length=MAX_TAG)
    return tags


def read_birth_date(text: str, today: date | None = None) -> date:
    """ISO, or a spreadsheet's form that can be read in one way only: ``31/12/1990``, ``31.12.1990``, ``5 May 1990``."""
    found = _date(text)
    if found < EARLIEST_BIRTH or (today is not None and found > today):
        raise InvalidInput("Not a plausible date of birth", field="birthDate")
    return found


_WRONG_DATE: Final = "Not a date (write YYYY-MM-DD)"


def _date(text: str) -> date:
    try:
        if len(text) == 10 and text[4] == "-" and text[7] == "-":
            return date.fromisoformat(text)
        if match := _YEAR_FIRST.fullmatch(text):
            return date(int(match[1]), int(match[3]), int(match[4]))
        if match := _NUMERIC_DATE.fullmatch(text):
            return _numeric(int(match[1]), int(match[3]), int(match[4]), dotted=match[2] == ".")
        if match := _DAY_NAMED.fullmatch(text):
            return date(int(match[3]), _MONTHS[match[2].lower()], int(match[1]))
        if match := _MONTH_NAMED.fullmatch(text):
            return date(int(match[3]), _MONTHS[match[1].lower()], int(match[2]))
    except (ValueError, KeyError):
        pass
    raise InvalidInput(_WRONG_DATE, field="birthDate")


def _numeric(one: int, two: int, year: int, *, dotted: bool) -> date:
    """Dots put the day first by convention; slashes and dashes do only where the number says so."""
    if dotted or one > 12 or one == two:
        return date(year, two, one)
    if two > 12:
        return date(year, one, two)
    raise InvalidInput("Day and month cannot be told apart (write YYYY-MM-DD)", field="birthDate")
