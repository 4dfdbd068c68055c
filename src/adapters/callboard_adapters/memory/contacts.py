"""Contacts by id and phone, their consent history and the numbers nobody may write to."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from callboard.contacts.model import ConsentRecord, Contact, ContactRow, Suppression
from callboard.contacts.ports import Merged
from callboard.contacts.rules import consent_imported, first_import, merge
from callboard.errors import AlreadyExists
from callboard.ids import ContactId
from callboard_adapters.memory.scope import TenantRepository, port


class MemoryContacts(TenantRepository):
    """A deleted contact stays in ``contacts`` and leaves ``phones``: that is what makes it not there."""

    name = "contacts"

    @port
    def get(self, contact: ContactId) -> Contact | None:
        return self._live(contact)

    @port
    def by_phone(self, e164: str) -> Contact | None:
        return self._with_phone(e164)

    @port
    def add(self, contact: Contact) -> None:
        self._put(contact)

    @port
    def save(self, contact: Contact) -> None:
        before = self._live(contact.id)
        if before is None:
            return
        if before.phone is not None:
            self._mine.phones.drop(before.phone.e164)
        self._put(contact)

    @port
    def merge_rows(self, rows: Sequence[ContactRow]) -> Merged:
        created = updated = unchanged = 0
        now = self._scope.now()
        for row in rows:
            before = self._with_phone(row.phone.e164)
            suppressed = row.phone.e164 in self._mine.suppressions
            if before is None:
                new_id = ContactId(self._scope.ids.new())
                after = first_import(row, contact_id=new_id, now=now, suppressed=suppressed)
                created += 1
            else:
                after = merge(before, row, now, suppressed=suppressed)
                if after is before:
                    unchanged += 1
                    continue
                updated += 1
            self._put(after)
            if (record := consent_imported(before, after, now)) is not None:
                self._append(record)
        return Merged(created=created, updated=updated, unchanged=unchanged)

    @port
    def existing_phones(self, phones: Collection[str]) -> frozenset[str]:
        return frozenset(phone for phone in phones if phone in self._mine.phones)

    @port
    def record_consent(self, record: ConsentRecord) -> None:
        self._append(record)

    @port
    def consent_history(self, phone: str) -> list[ConsentRecord]:
        return list(self._mine.consents.get(phone, ()))

    @port
    def suppress(self, suppression: Suppression) -> bool:
        if suppression.phone in self._mine.suppressions:
            return False
        self._mine.suppressions.put(suppression.phone, suppression)
        return True

    @port
    def unsuppress(self, phone: str) -> bool:
        return self._mine.suppressions.drop(phone)

    @port
    def suppressed(self, phones: Collection[str]) -> frozenset[str]:
        return frozenset(phone for phone in phones if phone in self._mine.suppressions)

    def _live(self, contact: ContactId) -> Contact | None:
        found = self._mine.contacts.get(contact)
        return found if found is not None and found.deleted_at is None else None

    def _with_phone(self, e164: str) -> Contact | None:
        found = self._mine.phones.get(e164)
        return None if found is None else self._mine.contacts[found]

    def _put(self, contact: Contact) -> None:
        if contact.phone is not None and contact.deleted_at is None:
            if self._mine.phones.get(contact.phone.e164, contact.id) != contact.id:
                raise AlreadyExists("A contact with that phone exists", field="phone")
            self._mine.phones.put(contact.phone.e164, contact.id)
        self._mine.contacts.put(contact.id, contact)

    def _append(self, record: ConsentRecord) -> None:
        self._mine.consents.put(record.phone, (*self._mine.consents.get(record.phone, ()), record))
