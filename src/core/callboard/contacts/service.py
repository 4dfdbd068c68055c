"""Contacts one by one, and imports of any number of them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
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


@attrs.frozen(kw_only=True)
class ImportService:
    """Imports rows in batches, each its own transaction: an import that broke off is simply run again."""

    work: OpenWork[Work]
    clock: Clock
    batch_size: int = attrs.field(default=5_000, validator=[attrs.validators.ge(1), attrs.validators.le(MAX_BATCH)])

    async def run(
        self,
        tenant: TenantId,
        rows: Iterable[RawRow] | AsyncIterable[RawRow],
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
        batch: list[ContactRow] = []
        seen: set[int] = set()  # about 65 bytes a phone
        async for line, cells in _each(rows):
            row = cells if isinstance(cells, RowError) else read_row(cells, line, region, today=today)
            if isinstance(row, RowError):
                tally.refuse(row, invalid=True)
            elif (key := int(row.phone.e164)) in seen:
                tally.refuse(row_error(line, "phone", row.phone.e164, DUPLICATE), invalid=False)
            else:
                seen.add(key)
                batch.append(row)
                if len(batch) >= self.batch_size:
                    await self._take(tenant, batch, tally)
                    batch = []
                    progress(tally.report())
        if batch:
            await self._take(tenant, batch, tally)
        report = tally.report()
        progress(report)
        return report

    async def _take(self, tenant: TenantId, batch: list[ContactRow], tally: _Tally) -> None:
        async with self.work(tenant) as w:
            if tally.dry_run:
                known = len(await w.contacts.existing_phones([row.phone.e164 for row in batch]))
                tally.created += len(batch) - known
                tally.updated += known
                return
            merged = await w.contacts.merge_rows(batch)
            updated = merged.updated + merged.unchanged
            if merged.created or merged.updated:
                await w.outbox.add(ContactsImported(created=merged.created, updated=merged.updated))
        # Counted after the commit: a batch that was rolled back is in no report.
        tally.created += merged.created
        tally.updated += updated


class _Tally:
    """Counts of one import while it runs."""

    def __init__(self, dry_run: bool) -> None:
        self.dry_run = dry_run
        self.created = self.updated = self.skipped = self.invalid = 0
        self._errors: list[RowError] = []

    def refuse(self, error: RowError, *, invalid: bool) -> None:
        if invalid:
            self.invalid += 1
        else:
            self.skipped += 1
        if len(self._errors) < MAX_ERRORS:
            self._errors.append(error)

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


async def _each(rows: Iterable[RawRow] | AsyncIterable[RawRow]) -> AsyncIterator[RawRow]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row
