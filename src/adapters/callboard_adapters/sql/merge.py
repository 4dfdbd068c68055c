"""Import rows into contacts, set-based: one staging table, then the statements of the merge rule.

The rule is ``contacts.rules.merge`` and ``first_import``; the contract suite holds the two equal. On PostgreSQL the
rows travel by COPY below SQLAlchemy, in the same transaction; on SQLite by one executemany.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from psycopg.errors import UniqueViolation

from callboard.contacts.model import ContactRow
from callboard.contacts.ports import Merged
from callboard.errors import AlreadyExists
from callboard_adapters.sql.scope import Scope
from callboard_adapters.sql.tags import join_tags

_STAGED: Final = "id, phone, phone_valid, first_name, last_name, email, gender, birth_date, tags, consent"
_KEPT: Final = ("first_name", "last_name", "email", "gender", "birth_date", "tags")
"""What a row may say or leave alone; consent has its own rule."""

_CONSENT: Final = """
    CASE WHEN k.suppressed OR k.consent = 'opted_out' THEN 'opted_out'
         WHEN k.consent = 'opted_in' AND c.consent = 'unknown' THEN 'opted_in'
         ELSE c.consent END"""
_FIRST_CONSENT: Final = "CASE WHEN k.suppressed THEN 'opted_out' ELSE coalesce(k.consent, 'unknown') END"

_CONTACT: Final = (
    "(tenant_id, id, phone, phone_valid, first_name, last_name, email, gender, birth_date, tags, consent,"
    " created_at, updated_at)"
)
_NEW_CONTACT: Final = (
    "k.id, k.phone, k.phone_valid, k.first_name, k.last_name, k.email, k.gender, k.birth_date, coalesce(k.tags, ''),"
    f" {_FIRST_CONSENT}"
)
_RECORD: Final = "(tenant_id, contact_id, phone, consent, source, at)"


async def merge_rows(scope: Scope, rows: Sequence[ContactRow]) -> Merged:
    """Upsert rows with distinct phones; the caller keeps the counter and holds its lock."""
    if not rows:
        return Merged(created=0, updated=0, unchanged=0)
    created, updated = await (_merge_sqlite(scope, rows) if scope.sqlite else _merge_postgresql(scope, rows))
    return Merged(created=created, updated=updated, unchanged=len(rows) - created - updated)


# --- PostgreSQL ---------------------------------------------------------------------------------------------------

_PG_STAGE: Final = """
CREATE TEMP TABLE IF NOT EXISTS import_rows (
    id uuid, phone text, phone_valid boolean, first_name text, last_name text, email text, gender text,
    birth_date date, tags text, consent text
) ON COMMIT DROP"""

# LATERAL … LIMIT 1 is a probe of the phone index per row: a hash join would read every contact of every tenant.
_PG_MERGE: Final = f"""
WITH k AS MATERIALIZED (
    SELECT s.*, c.id AS known_id, c.consent AS known_consent,
           EXISTS (SELECT FROM suppressions p WHERE p.tenant_id = %(tenant)s AND p.phone = s.phone) AS suppressed
    FROM import_rows s
    LEFT JOIN LATERAL (
        SELECT id, consent FROM contacts
        WHERE tenant_id = %(tenant)s AND phone = s.phone AND deleted_at IS NULL LIMIT 1
    ) c ON true
), created AS (
    INSERT INTO contacts {_CONTACT}
    SELECT %(tenant)s, {_NEW_CONTACT}, %(now)s, %(now)s FROM k WHERE known_id IS NULL
    RETURNING id, phone, consent
), updated AS (
    UPDATE contacts c SET {", ".join(f"{x} = coalesce(k.{x}, c.{x})" for x in _KEPT)},
        consent = {_CONSENT}, updated_at = %(now)s
    FROM k
    WHERE c.id = k.known_id AND c.deleted_at IS NULL AND (
        {" OR ".join(f"k.{x} <> c.{x} OR (c.{x} IS NULL AND k.{x} IS NOT NULL)" for x in _KEPT)}
        OR c.consent <> {_CONSENT})
    RETURNING c.id, c.phone, c.consent, k.known_consent
), recorded AS (
    INSERT INTO consent_records {_RECORD}
    SELECT %(tenant)s, id, phone, consent, 'import', %(now)s FROM created WHERE consent <> 'unknown'
    UNION ALL
    SELECT %(tenant)s, id, phone, consent, 'import', %(now)s FROM updated WHERE consent <> known_consent
)
SELECT (SELECT count(*) FROM created), (SELECT count(*) FROM updated)"""  # noqa: S608 - constants of this module


async def _merge_postgresql(scope: Scope, rows: Sequence[ContactRow]) -> tuple[int, int]:
    driver: Any = (await scope.connection.get_raw_connection()).driver_connection
    arguments = {"tenant": scope.tenant_id, "now": datetime.now(UTC)}
    async with driver.cursor() as cursor:
        await cursor.execute(_PG_STAGE)
        await cursor.execute("TRUNCATE import_rows")
        async with cursor.copy(f"COPY import_rows ({_STAGED}) FROM STDIN") as copy:
            await copy.write("".join(_copy_lines(scope, rows)))
        # joins of 10,000 staged rows with millions of contacts must probe, never scan
        await cursor.execute(_PG_JOINS, {"value": "off"})
        created, updated = await _merged(driver, cursor, arguments)
        await cursor.execute(_PG_JOINS, {"value": "on"})
    return created, updated


async def _merged(driver: Any, cursor: Any, arguments: dict[str, object]) -> tuple[int, int]:
    """The merge, again when a contact took one of the new phones meanwhile (imports and additions wait for each other).

    ON CONFLICT would say the same and costs a fifth of the whole import.
    """
    for last in (False, False, True):
        try:
            async with driver.transaction():
                await cursor.execute(_PG_MERGE, arguments, prepare=False)
                created, updated = await cursor.fetchone()
                return created, updated
        except UniqueViolation:
            if last:
                raise AlreadyExists("Contacts are changing too fast: try again") from None
    raise AssertionError("unreachable")


_PG_JOINS: Final = (
    "SELECT set_config('enable_hashjoin', %(value)s, true), set_config('enable_mergejoin', %(value)s, true)"
)


def _copy_lines(scope: Scope, rows: Sequence[ContactRow]) -> Iterator[str]:
    new_id = scope.ids.new
    for row in rows:
        phone, born, tags = row.phone, row.birth_date, row.tags
        yield (
            f"{new_id().hex}\t{phone.e164}\t{'t' if phone.valid else 'f'}\t{_copied(row.first_name)}"
            f"\t{_copied(row.last_name)}\t{_copied(row.email)}\t{row.gender or _NULL}\t{born or _NULL}"
            f"\t{_NULL if tags is None else _copied(join_tags(tags))}\t{row.consent or _NULL}\n"
        )


_NULL: Final = "\\N"
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def _copied(text: str | None) -> str:
    """A field of COPY's text format."""
    if text is None:
        return _NULL
    return text if text.isalnum() else text.translate(_ESCAPES)


# --- SQLite -------------------------------------------------------------------------------------------------------

_LITE_STAGE: Final = f"CREATE TEMP TABLE IF NOT EXISTS import_rows ({_STAGED})"
_LITE_FILL: Final = f"INSERT INTO temp.import_rows ({_STAGED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608

_LITE_K: Final = """(
    SELECT s.*, EXISTS (SELECT 1 FROM suppressions p WHERE p.tenant_id = :tenant AND p.phone = s.phone) AS suppressed
    FROM temp.import_rows s) k"""
_LITE_MATCH: Final = "c.tenant_id = :tenant AND c.phone = k.phone AND c.deleted_at IS NULL"
_LITE_STATEMENTS: Final = (
    f"""
    INSERT INTO consent_records {_RECORD}
    SELECT :tenant, coalesce(c.id, k.id), k.phone,
        CASE WHEN c.id IS NULL THEN {_FIRST_CONSENT} ELSE {_CONSENT} END, 'import', :now
    FROM {_LITE_K} LEFT JOIN contacts c ON {_LITE_MATCH}
    WHERE coalesce(c.consent, 'unknown') <> CASE WHEN c.id IS NULL THEN {_FIRST_CONSENT} ELSE {_CONSENT} END""",  # noqa: S608 - constants of this module
    f"""
    UPDATE contacts AS c SET {", ".join(f"{x} = coalesce(k.{x}, c.{x})" for x in _KEPT)},
        consent = {_CONSENT}, updated_at = :now
    FROM {_LITE_K}
    WHERE {_LITE_MATCH} AND (
        {" OR ".join(f"k.{x} <> c.{x} OR (c.{x} IS NULL AND k.{x} IS NOT NULL)" for x in _KEPT)}
        OR c.consent <> {_CONSENT})""",  # noqa: S608 - constants of this module
    f"""
    INSERT INTO contacts {_CONTACT}
    SELECT :tenant, {_NEW_CONTACT}, :now, :now FROM {_LITE_K}
    WHERE NOT EXISTS (SELECT 1 FROM contacts c WHERE {_LITE_MATCH})""",  # noqa: S608 - constants of this module
)


async def _merge_sqlite(scope: Scope, rows: Sequence[ContactRow]) -> tuple[int, int]:
    connection = scope.connection
    await connection.exec_driver_sql(_LITE_STAGE)
    await connection.exec_driver_sql("DELETE FROM temp.import_rows")
    await connection.exec_driver_sql(_LITE_FILL, list(_lite_tuples(scope, rows)))
    arguments = {"tenant": scope.tenant_id.hex, "now": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")}
    _, updated, created = [
        (await connection.exec_driver_sql(statement, arguments)).rowcount for statement in _LITE_STATEMENTS
    ]
    return created, updated


def _lite_tuples(scope: Scope, rows: Sequence[ContactRow]) -> Iterator[tuple[object, ...]]:
    new_id = scope.ids.new
    for row in rows:
        yield (
            new_id().hex,
            row.phone.e164,
            row.phone.valid,
            row.first_name,
            row.last_name,
            row.email,
            None if row.gender is None else row.gender.value,
            None if row.birth_date is None else row.birth_date.isoformat(),
            None if row.tags is None else join_tags(row.tags),
            None if row.consent is None else row.consent.value,
        )
