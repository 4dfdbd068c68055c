"""A contact, the append-only record of its consent, and the outcome of an import row."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

import attrs

from callboard.ids import ContactId
from callboard.values import Phone


class Consent(StrEnum):
    """What the person said about marketing."""

    OPTED_IN = "opted_in"
    OPTED_OUT = "opted_out"
    UNKNOWN = "unknown"


class Gender(StrEnum):
    """Known genders; an unknown one is None."""

    MALE = "male"
    FEMALE = "female"
    OTHER = "other"


class ConsentSource(StrEnum):
    """Where a change of consent came from."""

    API = "api"
    IMPORT = "import"
    INBOUND = "inbound"
    UNSUBSCRIBE_LINK = "unsubscribe_link"
    PROVIDER = "provider"
    COMMAND_LINE = "command_line"


@attrs.frozen(kw_only=True)
class Contact:
    """One person of one tenant. ``phone`` is unique among the tenant's live contacts; names are stored as given."""

    id: ContactId
    phone: Phone | None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    gender: Gender | None = None
    birth_date: date | None = None
    tags: frozenset[str] = frozenset()
    consent: Consent = Consent.UNKNOWN
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


@attrs.frozen(kw_only=True)
class ConsentRecord:
    """One line of the append-only consent history; ``evidence`` is a short word or id, never a message text."""

    contact_id: ContactId | None
    phone: str
    consent: Consent
    source: ConsentSource
    evidence: str | None
    at: datetime


@attrs.frozen(kw_only=True)
class Suppression:
    """A number that must not get marketing from this tenant, whatever a contact row says."""

    phone: str
    reason: str
    at: datetime


@attrs.frozen(kw_only=True)
class ContactRow:
    """One readable row of an import file. None means "this file does not say": it changes nothing."""

    line: int
    phone: Phone
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    gender: Gender | None = None
    birth_date: date | None = None
    consent: Consent | None = None
    tags: frozenset[str] | None = None


class RowOutcome(StrEnum):
    """What became of an import row; exactly one per row."""

    CREATED = "created"
    UPDATED = "updated"
    SKIPPED = "skipped"
    INVALID = "invalid"


@attrs.frozen(kw_only=True)
class RowError:
    """Why a row was skipped or invalid. ``line`` counts file lines; ``value`` is what stood there, shortened."""

    line: int
    field: str
    value: str
    reason: str


@attrs.frozen(kw_only=True)
class ImportReport:
    """``total = created + updated + skipped + invalid`` always; ``errors`` holds at most the first 1,000."""

    total: int
    created: int
    updated: int
    skipped: int
    invalid: int
    errors: tuple[RowError, ...]
    dry_run: bool = False
