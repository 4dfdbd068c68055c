"""What contacts need from a store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import attrs

from callboard.contacts.model import ConsentRecord, Contact, ContactRow, Suppression
from callboard.events import Outbox
from callboard.ids import ContactId
from callboard.tenants.model import Tenant


@attrs.frozen(kw_only=True)
class Merged:
    """What a batch of rows did: lines that created, updated and changed nothing (identical or already imported)."""

    created: int
    updated: int
    unchanged: int


class Contacts(Protocol):
    """The tenant's live contacts (a deleted one is not there) and everybody's say about marketing."""

    async def get(self, contact: ContactId) -> Contact | None: ...

    async def by_phone(self, e164: str) -> Contact | None: ...

    async def existing_phones(self, phones: Collection[str]) -> frozenset[str]:
        """Those of ``phones`` (up to 10,000) that a live contact has: what a dry run of an import looks at."""
        ...

    async def add(self, contact: Contact) -> None:
        """AlreadyExists when a live contact has the phone."""
        ...

    async def save(self, contact: Contact) -> None:
        """Replace the row; AlreadyExists when another live contact has the phone."""
        ...

    async def merge_rows(self, rows: Sequence[ContactRow]) -> Merged:
        """Upsert by phone, set-based, one call per batch of up to 10,000 rows with distinct phones.

        A None changes nothing. ``opted_out`` never becomes ``opted_in``, and a suppressed phone stays opted
        out. Every change of consent writes a ConsentRecord (source import). New contacts get ids and times here.
        """
        ...

    async def record_consent(self, record: ConsentRecord) -> None:
        """Append to the history."""
        ...

    async def consent_history(self, phone: str) -> list[ConsentRecord]:
        """Oldest first."""
        ...

    async def suppress(self, suppression: Suppression) -> bool:
        """True when the number was not suppressed before."""
        ...

    async def unsuppress(self, phone: str) -> bool:
        """True when the number was suppressed."""
        ...

    async def suppressed(self, phones: Collection[str]) -> frozenset[str]:
        """Those of ``phones`` that are suppressed."""
        ...


class Work(Protocol):
    """One tenant's transaction."""

    @property
    def tenant(self) -> Tenant: ...
    @property
    def contacts(self) -> Contacts: ...
    @property
    def outbox(self) -> Outbox: ...
