"""Contacts in SQL: live ones by id and phone, their consent history, and the numbers nobody may write to.

Every change of the number of live contacts moves ``tenant_counters('contacts')`` in the same transaction, and takes
that row first: writers of one tenant's contacts then wait for each other in one order and cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from callboard.contacts.model import Consent, ConsentRecord, ConsentSource, Contact, ContactRow, Gender, Suppression
from callboard.contacts.ports import Merged
from callboard.errors import AlreadyExists
from callboard.ids import ContactId
from callboard.values import Phone
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.dialect import batches, insert_into
from callboard_adapters.sql.merge import merge_rows
from callboard_adapters.sql.scope import Scope
from callboard_adapters.sql.tags import join_tags, split_tags

CONTACTS: Final = "contacts"
"""The counter of live contacts."""


def to_contact(row: RowMapping) -> Contact:
    """A stored contact."""
    return Contact(
        id=ContactId(row["id"]),
        phone=None if row["phone"] is None else Phone(row["phone"], row["phone_valid"]),
        first_name=row["first_name"],
        last_name=row["last_name"],
        email=row["email"],
        gender=None if row["gender"] is None else Gender(row["gender"]),
        birth_date=row["birth_date"],
        tags=split_tags(row["tags"]),
        consent=Consent(row["consent"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        deleted_at=row["deleted_at"],
    )


def _values(contact: Contact) -> dict[str, object]:
    return {
        "id": contact.id,
        "phone": None if contact.phone is None else contact.phone.e164,
        "phone_valid": contact.phone is None or contact.phone.valid,
        "first_name": contact.first_name,
        "last_name": contact.last_name,
        "email": contact.email,
        "gender": None if contact.gender is None else contact.gender.value,
        "birth_date": contact.birth_date,
        "tags": join_tags(contact.tags),
        "consent": contact.consent.value,
        "created_at": contact.created_at,
        "updated_at": contact.updated_at,
        "deleted_at": contact.deleted_at,
    }


class SqlContacts:
    """The tenant's live contacts and everybody's say about marketing."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def _live(self) -> ColumnElement[bool]:
        return and_(t.contacts.c.tenant_id == self._scope.tenant_id, t.contacts.c.deleted_at.is_(None))

    async def get(self, contact: ContactId) -> Contact | None:
        return await self._one(t.contacts.c.id == contact)

    async def by_phone(self, e164: str) -> Contact | None:
        return await self._one(t.contacts.c.phone == e164)

    async def _one(self, condition: ColumnElement[bool]) -> Contact | None:
        found = await self._scope.connection.execute(select(t.contacts).where(self._live(), condition))
        row = found.mappings().first()
        return None if row is None else to_contact(row)

    async def existing_phones(self, phones: Collection[str]) -> frozenset[str]:
        """Those of ``phones`` that a live contact has."""
        return await self._phones_in(t.contacts.c.phone, self._live(), phones)

    async def add(self, contact: Contact) -> None:
        """AlreadyExists when a live contact has the phone."""
        counts = contact.deleted_at is None
        await self.count_by(1 if counts else 0)
        statement = (
            insert_into(t.contacts, is_sqlite=self._scope.sqlite)
            .values(tenant_id=self._scope.tenant_id, **_values(contact))
            .on_conflict_do_nothing()
            .returning(t.contacts.c.id)
        )
        if (await self._scope.connection.execute(statement)).first() is None:
            await self.count_by(-1 if counts else 0)
            raise AlreadyExists("A contact with that phone exists", field="phone")

    async def save(self, contact: Contact) -> None:
        """Replace the row of a live contact; AlreadyExists when another live contact has the phone."""
        if contact.deleted_at is not None:
            await self.count_by(0)
        statement = (
            update(t.contacts)
            .where(self._live(), t.contacts.c.id == contact.id)
            .values(_values(contact))
            .returning(t.contacts.c.id)
        )
        try:
            async with self._scope.connection.begin_nested():
                changed = (await self._scope.connection.execute(statement)).first()
        except IntegrityError:
            raise AlreadyExists("A contact with that phone exists", field="phone") from None
        if changed is not None and contact.deleted_at is not None:
            await self.count_by(-1)

    async def merge_rows(self, rows: Sequence[ContactRow]) -> Merged:
        """Upsert by phone, set-based; see :mod:`callboard_adapters.sql.merge`."""
        await self.count_by(0)
        merged = await merge_rows(self._scope, rows)
        if merged.created:
            await self.count_by(merged.created)
        return merged

    async def count_by(self, n: int) -> None:
        """Move the tenant's counter of live contacts, and hold its row until the transaction ends."""
        counters = t.tenant_counters
        statement = insert_into(counters, is_sqlite=self._scope.sqlite).values(
            tenant_id=self._scope.tenant_id, name=CONTACTS, n=n
        )
        await self._scope.connection.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant_id", "name"], set_={"n": counters.c.n + statement.excluded.n}
            )
        )

    async def record_consent(self, record: ConsentRecord) -> None:
        """Append to the history."""
        await self._scope.connection.execute(
            insert(t.consent_records).values(
                tenant_id=self._scope.tenant_id,
                contact_id=record.contact_id,
                phone=record.phone,
                consent=record.consent.value,
                source=record.source.value,
                evidence=record.evidence,
                at=record.at,
            )
        )

    async def consent_history(self, phone: str) -> list[ConsentRecord]:
        """Oldest first."""
        r = t.consent_records.c
        found = await self._scope.connection.execute(
            select(t.consent_records).where(r.tenant_id == self._scope.tenant_id, r.phone == phone).order_by(r.id)
        )
        return [
            ConsentRecord(
                contact_id=row["contact_id"],
                phone=row["phone"],
                consent=Consent(row["consent"]),
                source=ConsentSource(row["source"]),
                evidence=row["evidence"],
                at=row["at"],
            )
            for row in found.mappings()
        ]

    async def suppress(self, suppression: Suppression) -> bool:
        """True when the number was not suppressed before."""
        statement = (
            insert_into(t.suppressions, is_sqlite=self._scope.sqlite)
            .values(
                tenant_id=self._scope.tenant_id,
                phone=suppression.phone,
                reason=suppression.reason,
                at=suppression.at,
            )
            .on_conflict_do_nothing()
            .returning(t.suppressions.c.phone)
        )
        return (await self._scope.connection.execute(statement)).first() is not None

    async def unsuppress(self, phone: str) -> bool:
        """True when the number was suppressed."""
        s = t.suppressions
        statement = delete(s).where(s.c.tenant_id == self._scope.tenant_id, s.c.phone == phone).returning(s.c.phone)
        return (await self._scope.connection.execute(statement)).first() is not None

    async def suppressed(self, phones: Collection[str]) -> frozenset[str]:
        """Those of ``phones`` that are suppressed."""
        s = t.suppressions.c
        return await self._phones_in(s.phone, s.tenant_id == self._scope.tenant_id, phones)

    async def _phones_in(
        self, column: ColumnElement[Any], mine: ColumnElement[bool], phones: Collection[str]
    ) -> frozenset[str]:
        found: set[str] = set()
        for part in batches(phones):
            rows = await self._scope.connection.execute(select(column).where(mine, column.in_(part)))
            found.update(rows.scalars())
        return frozenset(found)
