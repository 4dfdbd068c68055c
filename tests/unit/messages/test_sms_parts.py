"""Counting SMS parts; providers.md 7.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.messages.sms_parts import Encoding, count_parts


@pytest.mark.parametrize(
    ("text", "units", "parts"),
    [
        ("a" * 160, 160, 1),
        ("a" * 161, 161, 2),
        ("a" * 306, 306, 2),
        ("a" * 307, 307, 3),
        ("€" * 80, 160, 1),
        ("€" * 153, 306, 3),
        ("a" * 152 + "€" + "a" * 152, 306, 3),
        ("\r\n" * 80, 160, 1),
        ("^{}\\[~]|€\f", 20, 1),
        ("", 0, 0),
    ],
)
def test_gsm_check_values(text: str, units: int, parts: int) -> None:
    counted = count_parts(text)
    assert (counted.encoding, counted.units, counted.parts) == (Encoding.GSM7, units, parts)


@pytest.mark.parametrize(
    ("text", "units", "parts"),
    [
        ("я" * 70, 70, 1),
        ("я" * 71, 71, 2),
        ("я" * 134, 134, 2),
        ("я" * 135, 135, 3),
        ("я" * 66 + "😀" + "я" * 66, 134, 3),
        ("😀" * 67, 134, 3),
        ("€ç", 2, 1),
    ],
)
def test_ucs2_check_values(text: str, units: int, parts: int) -> None:
    counted = count_parts(text)
    assert (counted.encoding, counted.units, counted.parts) == (Encoding.UCS2, units, parts)


@pytest.mark.parametrize(
    "trap", ["ç", "Á", "á", "í", "\u201c", "\u2019", "\u2013", "\u2026", "\u00a0", "`", "α", "Α", "\t"]
)
def test_one_trap_character_turns_the_whole_text_to_ucs2(trap: str) -> None:
    assert count_parts("a" * 100 + trap).encoding is Encoding.UCS2


@given(st.text(max_size=500))
def test_parts_hold_the_text_and_are_not_wasted(text: str) -> None:
    counted = count_parts(text)
    size, alone = (153, 160) if counted.encoding is Encoding.GSM7 else (67, 70)
    if counted.units <= alone:
        assert counted.parts == (1 if text else 0)
    else:
        assert -(-counted.units // size) <= counted.parts <= -(-counted.units // (size - 1))
