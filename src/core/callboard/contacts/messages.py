"""Events of contacts and consent. They carry ids and counts, never a phone or a name."""

from __future__ import annotations

from typing import ClassVar

import attrs

from callboard.contacts.model import ConsentSource
from callboard.events import Event
from callboard.ids import ContactId


@attrs.frozen(kw_only=True)
class ContactCreated(Event):
    """There is a new contact."""

    type: ClassVar[str] = "contact.created"
    contact_id: ContactId


@attrs.frozen(kw_only=True)
class ContactUpdated(Event):
    """Fields other than consent changed; ``fields`` names them."""

    type: ClassVar[str] = "contact.updated"
    contact_id: ContactId
    fields: tuple[str, ...]


@attrs.frozen(kw_only=True)
class ContactDeleted(Event):
    """The contact is gone from every list; its consent history stays."""

    type: ClassVar[str] = "contact.deleted"
    contact_id: ContactId


@attrs.frozen(kw_only=True)
class ContactOptedIn(Event):
    """The person agreed to marketing."""

    type: ClassVar[str] = "contact.opted_in"
    contact_id: ContactId | None
    source: ConsentSource


@attrs.frozen(kw_only=True)
class ContactOptedOut(Event):
    """The person refused marketing; ``contact_id`` is None for a number that is no contact."""

    type: ClassVar[str] = "contact.opted_out"
    contact_id: ContactId | None
    source: ConsentSource


@attrs.frozen(kw_only=True)
class ContactsImported(Event):
    """One batch of an import was written."""

    type: ClassVar[str] = "contacts.imported"
    created: int
    updated: int
