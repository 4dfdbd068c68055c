"""Contacts one by one, and imports of any number of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Final

import attrs

from callboard.clock import Clock, local_date
from callboard.contacts import rules
from callboard.contacts.messages import ContactsImported
from callboard.contacts.model import (
    Consent,
    ConsentSource,
    Contact,
    ContactRow,
    Gender,
    ImportReport,
    RowError,
    Suppression,
)
from callboard.contacts.ports import Work
from callboard.contacts.rows import DUPLICATE, check_headers, read_row, row_error
from callboard.errors import InvalidInput, NotFound
from callboard.ids import ContactId, Ids, TenantId
from callboard.values import Phone
from callboard.work import OpenWork

MAX_ERRORS: Final = 1_000
MAX_BATCH: Final = 10_000

RawRow = tuple[int, "Mapping[str, str | None] | RowError"]
"""File line and cells by header; or what made the row unreadable."""


class Unset:
    """The absence of a value in a partial update, where None means "empty this field"."""


UNSET: Final = Unset()


@attrs.frozen(kw_only=True)
class ContactChanges:
    """A partial update: only what is given changes; None empties a field (phone and consent need a value)."""

    phone: Phone | Unset | None = UNSET
    first_name: str | Unset | None = UNSET
    last_name: str | Unset | None = UNSET
    email: str | Unset | None = UNSET
    gender: Gender | Unset | None = UNSET
    birth_date: date | Unset | None = UNSET
    tags: frozenset[str] | Unset = UNSET
    consent: Consent | Unset = UNSET

    def onto(self, contact: Contact) -> Contact:
        """The contact with the given fields replaced."""
        given = {
            field.name: value
            for field in attrs.fields(type(self))
            if not isinstance(value := getattr(self, field.name), Unset)
        }
        return attrs.evolve(contact, **given)


@attrs.frozen(kw_only=True)
class ContactService:
    """Create, read, edit and delete contacts; take people's word about marketing."""

    work: OpenWork[Work]
    clock: Clock
    ids: Ids

    async def get(self, tenant: TenantId, contact: ContactId) -> Contact:
        """NotFound when it is unknown, deleted or somebody else's."""
        async with self.work(tenant) as w:
            return _found(await w.contacts.get(contact))

    async def create(
        self, tenant: TenantId, values: ContactChanges, *, source: ConsentSource = ConsentSource.API
    ) -> Contact:
        """A new contact; the phone is required. AlreadyExists when a live contact has it."""
        now = self.clock.now()
        blank = Contact(id=ContactId(self.ids.new()), phone=None, created_at=now, updated_at=now)
        wanted = values.onto(blank)
        if wanted.phone is None:
            raise InvalidInput("A contact needs a phone", field="phoneE164")
        async with self.work(tenant) as w:
            suppressed = bool(await w.contacts.suppressed([wanted.phone.e164]))
            decision = rules.create(wanted, source=source, now=now, suppressed=suppressed)
            contact = _found(decision.contact)
            await w.contacts.add(contact)
            await self._write(w, decision, before=None)
            return contact

    async def update(
        self,
        tenant: TenantId,
        contact: ContactId,
        changes: ContactChanges,
        *,
        source: ConsentSource = ConsentSource.API,
    ) -> Contact:
        """Change the given fields. NotFound; AlreadyExists when another live contact has the phone."""
        async with self.work(tenant) as w:
            before = _found(await w.contacts.get(contact))
            after = changes.onto(before)
            if after.phone is None and before.phone is not None:
                raise InvalidInput("A contact needs a phone", field="phoneE164")
            suppressed = after.phone is not None and bool(await w.contacts.suppressed([after.phone.e164]))
            decision = rules.change(before, after, source=source, now=self.clock.now(), suppressed=suppressed)
            changed = _found(decision.contact)
            if changed != before:
                await w.contacts.save(changed)
                await self._write(w, decision, before=before)
            return changed

    async def delete(self, tenant: TenantId, contact: ContactId) -> None:
        """Soft: the row stays for the ledger's sake, the phone is free again. NotFound.

        A person who had opted out stays out: the number is suppressed, so that a later import cannot bring it back in.
        """
        now = self.clock.now()
        async with self.work(tenant) as w:
            before = _found(await w.contacts.get(contact))
            decision = rules.delete(before, now=now)
            await w.contacts.save(_found(decision.contact))
            if before.phone is not None and before.consent is Consent.OPTED_OUT:
                await w.contacts.suppress(Suppression(phone=before.phone.e164, reason="opted_out_and_deleted", at=now))
            await w.outbox.add(*decision.events)

    async def opt_out(
        self, tenant: TenantId, phone: str, *, source: ConsentSource, evidence: str | None = None
    ) -> bool:
        """No more marketing to this number (E.164), for this tenant only. True when that was news."""
        now = self.clock.now()
        async with self.work(tenant) as w:
            return await opt_out(w, phone, source=source, evidence=evidence, now=now)

    async def opt_in(self, tenant: TenantId, phone: str, *, source: ConsentSource, evidence: str | None = None) -> bool:
        """The person wants marketing again: the suppression goes. True when that was news."""
        now = self.clock.now()
        async with self.work(tenant) as w:
            contact = await w.contacts.by_phone(phone)
            lifted = await w.contacts.unsuppress(phone)
            decision = rules.opt_in(contact, phone, source=source, evidence=evidence, now=now, lifted=lifted)
            return await _save_consent(w, decision, before=contact)

    async def _write(self, w: Work, decision: rules.Decision, *, before: Contact | None) -> None:
        """What follows from a change of consent: history, the suppression list and the events."""
        contact, record = _found(decision.contact), decision.record
        if record is not None:
            await w.contacts.record_consent(record)
            if record.phone and contact.consent is Consent.OPTED_OUT:
                reason = record.source.value
                await w.contacts.suppress(Suppression(phone=record.phone, reason=reason, at=record.at))
            elif record.phone and contact.consent is Consent.OPTED_IN:
                await w.contacts.unsuppress(record.phone)
        await w.outbox.add(*decision.events)


async def opt_out(w: Work, phone: str, *, source: ConsentSource, evidence: str | None, now: datetime) -> bool:
    """The opt-out inside a transaction that somebody else opened (an inbound text, a provider's receipt)."""
    contact = await w.contacts.by_phone(phone)
    new = await w.contacts.suppress(Suppression(phone=phone, reason=source.value, at=now))
    decision = rules.opt_out(contact, phone, source=source, evidence=evidence, now=now, new=new)
    return await _save_consent(w, decision, before=contact)


async def _save_consent(w: Work, decision: rules.Decision, *, before: Contact | None) -> bool:
    if decision.contact is not None and decision.contact is not before:
        await w.contacts.save(decision.contact)
    if decision.record is not None:
        await w.contacts.record_consent(decision.record)
    await w.outbox.add(*decision.events)
    return decision.record is not None


def _found(contact: Contact | None) -> Contact:
    if contact is None:
        raise NotFound("Contact not found")
    return contact


@attrs.frozen
class Batch:
    """Readable rows with distinct phones, and what became of the others since the batch before."""

    rows: list[ContactRow] = attrs.field(factory=list)
    skipped: list[RowError] = attrs.field(factory=list)
    invalid: list[RowError] = attrs.field(factory=list)


Ahead = Callable[[Iterator[Batch]], AsyncIterator[Batch]]
"""How batches are fetched: one after the other, or by an adapter that reads the next one while this one is written."""


async def one_by_one(batches: Iterator[Batch]) -> AsyncIterator[Batch]:
    """Read a batch, then use it."""
    for batch in batches:
        yield batch


@attrs.frozen(kw_only=True)
class ImportService:
    """Imports rows in batches, each its own transaction: an import that broke off is simply run again."""

    work: OpenWork[Work]
    clock: Clock
    batch_size: int = attrs.field(default=10_000, validator=[attrs.validators.ge(1), attrs.validators.le(MAX_BATCH)])
    ahead: Ahead = one_by_one

    async def run(
        self,
        tenant: TenantId,
        rows: Iterable[RawRow],
        *,
        headers: Iterable[str] | None = None,
        dry_run: bool = False,
        progress: Callable[[ImportReport], None] = lambda _: None,
    ) -> ImportReport:
        """Import ``(line, cells)`` rows; one outcome per row, and ``total`` is always their sum.

        The first of several rows with one phone wins, the others are skipped. A row that an existing contact already
        agrees with counts as updated. ``dry_run`` reads and counts the same way and writes nothing. ``progress`` gets
        the report so far after every batch. InvalidInput for ``file`` when ``headers`` have no phone column.
        """
        if headers is not None:
            check_headers(headers)
        tally = _Tally(dry_run)
        async with self.work(tenant) as w:
            region, zone = w.tenant.region, w.tenant.timezone
        today = local_date(self.clock.now(), zone)
        async for batch in self.ahead(batches(rows, region, today=today, size=self.batch_size)):
            if batch.rows:
                await self._take(tenant, batch.rows, tally)
            tally.refuse(batch)
            progress(tally.report())
        return tally.report()

    async def _take(self, tenant: TenantId, rows: list[ContactRow], tally: _Tally) -> None:
        async with self.work(tenant) as w:
            if tally.dry_run:
                known = len(await w.contacts.existing_phones([row.phone.e164 for row in rows]))
                tally.created += len(rows) - known
                tally.updated += known
                return
            merged = await w.contacts.merge_rows(rows)
            updated = merged.updated + merged.unchanged
            if merged.created or merged.updated:
                await w.outbox.add(ContactsImported(created=merged.created, updated=merged.updated))
        # Counted after the commit: a batch that was rolled back is in no report.
        tally.created += merged.created
        tally.updated += updated


def batches(rows: Iterable[RawRow], region: str, *, today: date, size: int) -> Iterator[Batch]:
    """Read rows into batches of at most ``size`` contacts; always at least one batch, and every row is in one."""
    batch = Batch()
    seen: set[int] = set()  # about 65 bytes a phone
    for line, cells in rows:
        row = cells if isinstance(cells, RowError) else read_row(cells, line, region, today=today)
        if isinstance(row, RowError):
            batch.invalid.append(row)
        elif (key := int(row.phone.e164)) in seen:
            batch.skipped.append(row_error(line, "phone", row.phone.e164, DUPLICATE))
        else:
            seen.add(key)
            batch.rows.append(row)
        if len(batch.rows) + len(batch.invalid) + len(batch.skipped) >= size:
            yield batch
            batch = Batch()
    yield batch


class _Tally:
    """Counts of one import while it runs."""

    def __init__(self, dry_run: bool) -> None:
        self.dry_run = dry_run
        self.created = self.updated = self.skipped = self.invalid = 0
        self._errors: list[RowError] = []

    def refuse(self, batch: Batch) -> None:
        self.invalid += len(batch.invalid)
        self.skipped += len(batch.skipped)
        refused = sorted([*batch.invalid, *batch.skipped], key=lambda error: error.line)
        self._errors += refused[: MAX_ERRORS - len(self._errors)]

    def report(self) -> ImportReport:
        return ImportReport(
            total=self.created + self.updated + self.skipped + self.invalid,
            created=self.created,
            updated=self.updated,
            skipped=self.skipped,
            invalid=self.invalid,
            errors=tuple(self._errors),
            dry_run=self.dry_run,
        )
