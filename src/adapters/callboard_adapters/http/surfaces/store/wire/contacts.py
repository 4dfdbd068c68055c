"""Contacts and imports on the wire."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from callboard.contacts.model import Consent, Contact, Gender, ImportReport
from callboard.contacts.service import UNSET as KEEP
from callboard.contacts.service import ContactChanges, Unset
from callboard.errors import InvalidInput
from callboard.values import Phone, parse_phone
from callboard_adapters.http.surfaces.store.wire.common import Camel, Pagination

Word = Annotated[str, Meta(max_length=200)]
BirthDate = Annotated[str, Meta(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")]
GenderWord = Literal["male", "female", "other", "unknown", ""]
Tag = Annotated[str, Meta(min_length=1, max_length=64)]


class ContactIn(Camel):
    """``POST`` and ``PUT /contacts``: what is there is set, an empty text empties. ``phone`` = ``phoneE164``."""

    phone_e164: Word | UnsetType = UNSET
    phone: Word | UnsetType = UNSET
    first_name: Word | UnsetType | None = UNSET
    last_name: Word | UnsetType | None = UNSET
    email: Annotated[str, Meta(max_length=254)] | UnsetType | None = UNSET
    gender: GenderWord | UnsetType | None = UNSET
    birth_date: BirthDate | UnsetType | None = UNSET
    sms_consent: Consent | UnsetType = UNSET
    tags: Annotated[list[Tag], Meta(max_length=50)] | UnsetType = UNSET


class ContactOut(Camel):
    """A contact; ``phone`` is ``phoneE164`` and ``isSubscribed`` says that marketing may be sent."""

    id: str
    phone_e164: str | None
    phone: str | None
    first_name: str | None
    last_name: str | None
    email: str | None
    gender: Gender | None
    birth_date: date | None
    sms_consent: Consent
    is_subscribed: bool
    tags: list[str]
    created_at: datetime
    updated_at: datetime


class ContactsOut(Camel):
    """A page of contacts; ``items`` is ``contacts``."""

    contacts: list[ContactOut]
    items: list[ContactOut]
    total: int
    page: int
    page_size: int
    pagination: Pagination


class ImportError(Camel):  # noqa: A001 - the wire's own name
    """Why a row was not taken; ``row`` is its line in the file."""

    row: int
    field: str
    value: str
    reason: str


class ImportOut(Camel):
    """``total = created + updated + skipped + invalid``; ``imported = created + updated``."""

    imported: int
    created: int
    updated: int
    skipped: int
    invalid: int
    total: int
    errors: list[ImportError]
    dry_run: bool


def contact_out(contact: Contact) -> ContactOut:
    """A contact as this surface prints it."""
    phone = contact.phone.e164 if contact.phone else None
    return ContactOut(
        id=str(contact.id),
        phone_e164=phone,
        phone=phone,
        first_name=contact.first_name,
        last_name=contact.last_name,
        email=contact.email,
        gender=contact.gender,
        birth_date=contact.birth_date,
        sms_consent=contact.consent,
        is_subscribed=contact.consent is Consent.OPTED_IN,
        tags=sorted(contact.tags),
        created_at=contact.created_at,
        updated_at=contact.updated_at,
    )


def import_out(report: ImportReport) -> ImportOut:
    """An import's report as this surface prints it."""
    return ImportOut(
        imported=report.created + report.updated,
        created=report.created,
        updated=report.updated,
        skipped=report.skipped,
        invalid=report.invalid,
        total=report.total,
        errors=[ImportError(row=e.line, field=e.field, value=e.value, reason=e.reason) for e in report.errors],
        dry_run=report.dry_run,
    )


def read_contact(body: ContactIn, region: str) -> ContactChanges:
    """The changes a body asks for; national phone forms are those of ``region``."""
    return ContactChanges(
        phone=_phone(body, region),
        first_name=_text(body.first_name),
        last_name=_text(body.last_name),
        email=_text(body.email),
        gender=_gender(body.gender),
        birth_date=_date(body.birth_date),
        tags=KEEP if isinstance(body.tags, UnsetType) else frozenset(body.tags),
        consent=KEEP if isinstance(body.sms_consent, UnsetType) else body.sms_consent,
    )


def _phone(body: ContactIn, region: str) -> Phone | Unset:
    for field, text in (("phoneE164", body.phone_e164), ("phone", body.phone)):
        if not isinstance(text, UnsetType):
            return parse_phone(text, region, field=field)
    return KEEP


def _text(value: str | UnsetType | None) -> str | Unset | None:
    return KEEP if isinstance(value, UnsetType) else value or None


def _gender(value: str | UnsetType | None) -> Gender | Unset | None:
    if isinstance(value, UnsetType):
        return KEEP
    return Gender(value) if value and value != "unknown" else None


def _date(value: str | UnsetType | None) -> date | Unset | None:
    if isinstance(value, UnsetType):
        return KEEP
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise InvalidInput("Not a date", field="birthDate") from None
