"""How contacts and their consent change; contracts/README.md sections 3 and 4. Pure: time and ids are arguments."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import attrs

from callboard.contacts.messages import (
    ContactCreated,
    ContactDeleted,
    ContactOptedIn,
    ContactOptedOut,
    ContactUpdated,
)
from callboard.contacts.model import Consent, ConsentRecord, ConsentSource, Contact, ContactRow
from callboard.contacts.rows import EARLIEST_BIRTH, MAX_EMAIL, MAX_NAME, MAX_TAG, MAX_TAGS, read_email
from callboard.errors import InvalidInput
from callboard.events import Event
from callboard.ids import ContactId
from callboard.values import clean_text

MAX_EVIDENCE: Final = 200
_PLAIN_FIELDS: Final = ("phone", "first_name", "last_name", "email", "gender", "birth_date", "tags")


@attrs.frozen(kw_only=True)
class Decision:
    """The contact as it is afterwards (None: there is no contact with this phone), what to append and what to tell."""

    contact: Contact | None
    record: ConsentRecord | None = None
    events: tuple[Event, ...] = ()


# --- import -------------------------------------------------------------------------------------------------------


def first_import(row: ContactRow, *, contact_id: ContactId, now: datetime, suppressed: bool = False) -> Contact:
    """The contact a row makes. Without a word about consent it is unknown; a suppressed number stays opted out."""
    return Contact(
        id=contact_id,
        phone=row.phone,
        first_name=row.first_name,
        last_name=row.last_name,
        email=row.email,
        gender=row.gender,
        birth_date=row.birth_date,
        tags=frozenset() if row.tags is None else row.tags,
        consent=Consent.OPTED_OUT if suppressed else row.consent or Consent.UNKNOWN,
        created_at=now,
        updated_at=now,
    )


def merge(existing: Contact, row: ContactRow, now: datetime, *, suppressed: bool = False) -> Contact:
    """The contact after an import row: what the row does not say stays, and opted_out never becomes opted_in.

    Returns ``existing`` itself when the row changes nothing. An explicit ``unknown`` says nothing.
    """
    consent = existing.consent
    if suppressed:
        consent = Consent.OPTED_OUT
    elif row.consent is Consent.OPTED_OUT or (row.consent is Consent.OPTED_IN and consent is Consent.UNKNOWN):
        consent = row.consent
    merged = attrs.evolve(
        existing,
        first_name=existing.first_name if row.first_name is None else row.first_name,
        last_name=existing.last_name if row.last_name is None else row.last_name,
        email=existing.email if row.email is None else row.email,
        gender=existing.gender if row.gender is None else row.gender,
        birth_date=existing.birth_date if row.birth_date is None else row.birth_date,
        tags=existing.tags if row.tags is None else row.tags,
        consent=consent,
    )
    return existing if merged == existing else attrs.evolve(merged, updated_at=now)


def consent_imported(before: Contact | None, after: Contact, now: datetime) -> ConsentRecord | None:
    """The line an import appends to the consent history, None when consent did not change."""
    if after.consent is (Consent.UNKNOWN if before is None else before.consent):
        return None
    return _record(after.id, after.phone.e164 if after.phone else "", after.consent, ConsentSource.IMPORT, None, now)


# --- one contact --------------------------------------------------------------------------------------------------


def create(contact: Contact, *, source: ConsentSource, now: datetime, suppressed: bool) -> Decision:
    """A contact given field by field.

    A suppressed number starts opted out whatever is given: deleting a contact and adding it again is no way round an
    opt-out. (An explicit edit to ``opted_in`` lifts it.)
    """
    check(contact, now)
    if suppressed:
        contact = attrs.evolve(contact, consent=Consent.OPTED_OUT)
    said = _said(contact, source)
    record = (
        None
        if said is None
        else _record(contact.id, contact.phone.e164 if contact.phone else "", contact.consent, source, None, now)
    )
    created = ContactCreated(contact_id=contact.id)
    return Decision(contact=contact, record=record, events=(created,) if said is None else (created, said))


def change(
    before: Contact, after: Contact, *, source: ConsentSource, now: datetime, suppressed: bool = False
) -> Decision:
    """An edit. Unchanged fields tell nothing; a change of consent is recorded and told apart from the others.

    Moving a contact to a suppressed number opts it out, unless the same edit says otherwise.
    """
    check(after, now)
    if suppressed and after.consent is before.consent:
        after = attrs.evolve(after, consent=Consent.OPTED_OUT)
    if after == before:
        return Decision(contact=before)
    after = attrs.evolve(after, updated_at=now)
    fields = tuple(name for name in _PLAIN_FIELDS if getattr(before, name) != getattr(after, name))
    events: list[Event] = [ContactUpdated(contact_id=after.id, fields=fields)] if fields else []
    record = None
    if after.consent is not before.consent:
        phone = after.phone.e164 if after.phone else ""
        record = _record(after.id, phone, after.consent, source, None, now)
        if (said := _said(after, source)) is not None:
            events.append(said)
    return Decision(contact=after, record=record, events=tuple(events))


def delete(contact: Contact, *, now: datetime) -> Decision:
    """The contact leaves every list; its consent history and any suppression stay."""
    gone = attrs.evolve(contact, deleted_at=now, updated_at=now)
    return Decision(contact=gone, events=(ContactDeleted(contact_id=contact.id),))


def opt_out(
    contact: Contact | None, phone: str, *, source: ConsentSource, evidence: str | None, now: datetime, new: bool
) -> Decision:
    """Marketing ends for ``phone``, contact or not. ``new`` says that the number was not suppressed before.

    Saying it again is recorded nowhere and tells nothing.
    """
    known = contact is not None and contact.consent is Consent.OPTED_OUT
    if not new and (contact is None or known):
        return Decision(contact=contact)
    contact_id = None if contact is None else contact.id
    after = contact
    if contact is not None and not known:
        after = attrs.evolve(contact, consent=Consent.OPTED_OUT, updated_at=now)
    return Decision(
        contact=after,
        record=_record(contact_id, phone, Consent.OPTED_OUT, source, evidence, now),
        events=() if known else (ContactOptedOut(contact_id=contact_id, source=source),),
    )


def opt_in(
    contact: Contact | None, phone: str, *, source: ConsentSource, evidence: str | None, now: datetime, lifted: bool
) -> Decision:
    """The person asks for marketing. ``lifted`` says that a suppression was removed. Never called by an import."""
    known = contact is not None and contact.consent is Consent.OPTED_IN
    if not lifted and (contact is None or known):
        return Decision(contact=contact)
    contact_id = None if contact is None else contact.id
    after = contact
    if contact is not None and not known:
        after = attrs.evolve(contact, consent=Consent.OPTED_IN, updated_at=now)
    return Decision(
        contact=after,
        record=_record(contact_id, phone, Consent.OPTED_IN, source, evidence, now),
        events=() if known else (ContactOptedIn(contact_id=contact_id, source=source),),
    )


def check(contact: Contact, now: datetime) -> None:
    """Refuse what a contact cannot be; names are stored as given. InvalidInput names the field."""
    for field, name in (("firstName", contact.first_name), ("lastName", contact.last_name)):
        if name is not None:
            clean_text(name, field=field, max_length=MAX_NAME)
    if contact.email is not None:
        clean_text(contact.email, field="email", max_length=MAX_EMAIL)
        read_email(contact.email)
    if contact.birth_date is not None and not EARLIEST_BIRTH <= contact.birth_date <= now.date():
        raise InvalidInput("Not a plausible date of birth", field="birthDate")
    if len(contact.tags) > MAX_TAGS:
        raise InvalidInput(f"At most {MAX_TAGS} tags", field="tags")
    for tag in contact.tags:
        clean_text(tag, field="tags", max_length=MAX_TAG, min_length=1)


def _said(contact: Contact, source: ConsentSource) -> Event | None:
    if contact.consent is Consent.OPTED_IN:
        return ContactOptedIn(contact_id=contact.id, source=source)
    if contact.consent is Consent.OPTED_OUT:
        return ContactOptedOut(contact_id=contact.id, source=source)
    return None


def _record(
    contact: ContactId | None, phone: str, consent: Consent, source: ConsentSource, evidence: str | None, now: datetime
) -> ConsentRecord:
    shown = None if evidence is None else evidence[:MAX_EVIDENCE]
    return ConsentRecord(contact_id=contact, phone=phone, consent=consent, source=source, evidence=shown, at=now)
