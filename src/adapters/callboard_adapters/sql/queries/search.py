"""Contacts by what a person types: the kind of the term decides which index answers.

Digits are a phone in any spelling, its beginning or its end; ``@`` is an email; everything else begins a first name, a
last name, both, or an email. Only when no contact begins so, and the term is a part rather than a whole number or
address, it is looked for inside the fields, which reads every contact of the tenant (0.3 s per million and more).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import phonenumbers
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.sql.selectable import CompoundSelect, Select

from callboard.ids import TenantId
from callboard_adapters.sql import tables as t

_PHONE: Final = re.compile(r"[+(]?[0-9][0-9 ().\-\u00a0]*|\+")
_TAIL: Final = 4
"""Digits in ``ix_contacts_phone_end``."""
_WHOLE: Final = 7
"""Digits of the shortest phone: from here on a number is looked up, not looked for."""
_ASCII_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_WORDS: Final = 4

c = t.contacts.c
Found = Select[tuple[Any, ...]] | CompoundSelect[tuple[Any, ...]]


def beginning(term: str, *, tenant_id: TenantId, region: str, sqlite: bool) -> Found:
    """The (id, created_at) of contacts that begin with the term; every part is an index range."""
    if _PHONE.fullmatch(term):
        conditions = list(_phones(term, region))
    elif "@" in term:
        conditions = list(_starts(c.search_email, term, sqlite=sqlite))
    else:
        conditions = list(_names(term, sqlite=sqlite))
    first, *rest = [_rows(condition, tenant_id) for condition in conditions]
    return first.union(*rest) if rest else first


def may_be_inside(term: str) -> bool:
    """Whether the term can be the middle of something: a long number or an address with its local part cannot."""
    if _PHONE.fullmatch(term):
        return len(_digits(term)) < _WHOLE
    return "@" not in term or term.startswith("@")


def inside(term: str, *, tenant_id: TenantId) -> Found:
    """The (id, created_at) of contacts that have the term anywhere in phone, email or name."""
    if _PHONE.fullmatch(term):
        return _rows(c.phone.contains(_digits(term), autoescape=True), tenant_id)
    name = func.coalesce(c.search_first_name, "") + " " + func.coalesce(c.search_last_name, "")
    inside_any = [x.contains(v, autoescape=True) for x in (name, c.search_email) for v in _spellings(term)]
    return _rows(or_(*inside_any), tenant_id)


def _rows(condition: ColumnElement[bool], tenant_id: TenantId) -> Select[tuple[Any, ...]]:
    return select(c.id, c.created_at).where(c.tenant_id == tenant_id, c.deleted_at.is_(None), condition)


# --- phones -------------------------------------------------------------------------------------------------------


def _digits(term: str) -> str:
    return re.sub(r"[^0-9]", "", term)


def _phones(term: str, region: str) -> Iterator[ColumnElement[bool]]:
    digits = _digits(term)
    national = digits.lstrip("0")
    beginnings = {f"+{digits}"}
    if not term.startswith("+"):
        country = phonenumbers.country_code_for_region(region)
        beginnings |= {f"+{national}", f"+{country}{national}"}
    for start in sorted(beginnings):
        # digits sort alike in every collation, so this is the prefix range of the phone index
        yield c.phone.between(start, start + "9" * max(0, 16 - len(start)))
    if not term.startswith("+") and len(national) >= _TAIL:
        # coalesce keeps the phone index out: without statistics PostgreSQL may take its tenant part for this
        phone = func.coalesce(c.phone, "")
        yield and_(
            c.phone_end == national[-_TAIL:],
            func.substr(phone, func.length(phone) - (len(national) - 1)) == national,
            func.length(phone) > len(national),
        )


# --- words --------------------------------------------------------------------------------------------------------


def _names(term: str, *, sqlite: bool) -> Iterator[ColumnElement[bool]]:
    first, last = c.search_first_name, c.search_last_name
    words = term.split(maxsplit=_WORDS - 1)
    yield from _starts(first, term, sqlite=sqlite)
    yield from _starts(last, term, sqlite=sqlite)
    if len(words) == 1:
        yield from _starts(c.search_email, term, sqlite=sqlite)
    for n in range(1, len(words)):
        one, other = " ".join(words[:n]), " ".join(words[n:])
        for x, y in ((first, last), (last, first)):
            yield and_(or_(*_starts(x, one, sqlite=sqlite)), or_(*_starts(y, other, sqlite=sqlite)))


def _starts(column: ColumnElement[Any], text: str, *, sqlite: bool) -> Iterator[ColumnElement[bool]]:
    """The range of a search column's index; on PostgreSQL in byte order, whatever the collation."""
    for start in _spellings(text):
        end = start + "\U0010ffff"
        if sqlite:
            yield and_(column >= start, column < end)
        else:
            yield and_(column.op("~>=~", is_comparison=True)(start), column.op("~<~", is_comparison=True)(end))


def _spellings(text: str) -> list[str]:
    """How the database's ``lower`` may have left the text: SQLite and the C locale lower only ASCII letters."""
    return sorted(
        {text.lower(), *(x.translate(_ASCII_LOWER) for x in (text, text.lower(), text.title(), text.upper()))}
    )
