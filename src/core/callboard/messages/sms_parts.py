"""How many SMS parts a text takes; providers.md 7.1."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import attrs

_GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_EXTENSION = frozenset("^{}\\[~]|€\f")


class Encoding(StrEnum):
    """How a text travels: one character outside the GSM-7 tables turns the whole text to UCS-2."""

    GSM7 = "gsm7"
    UCS2 = "ucs2"


@attrs.frozen(kw_only=True)
class Parts:
    """``units`` are septets (GSM-7) or 16-bit units (UCS-2); an empty text has no part."""

    encoding: Encoding
    units: int
    parts: int


def count_parts(text: str) -> Parts:
    """Count by filling segments: an extension character or a surrogate pair is never split across two of them.

    One segment holds 160 septets or 70 units, each of several 153 or 67.
    """
    if _GSM7.issuperset(text):
        widths: list[int] = [1] * len(text)
        encoding, alone, joined = Encoding.GSM7, 160, 153
    elif (_GSM7 | _GSM7_EXTENSION).issuperset(text):
        widths = [2 if c in _GSM7_EXTENSION else 1 for c in text]
        encoding, alone, joined = Encoding.GSM7, 160, 153
    else:
        widths = [2 if ord(c) > 0xFFFF else 1 for c in text]
        encoding, alone, joined = Encoding.UCS2, 70, 67
    units = sum(widths)
    if units <= alone:
        return Parts(encoding=encoding, units=units, parts=1 if units else 0)
    return Parts(encoding=encoding, units=units, parts=_fill(widths, joined))


def _fill(widths: Iterable[int], size: int) -> int:
    parts, used = 1, 0
    for width in widths:
        if used + width > size:
            parts, used = parts + 1, 0
        used += width
    return parts
