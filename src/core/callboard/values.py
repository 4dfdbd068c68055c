"""Small values that everybody shares: phones and text that a database can hold."""

from __future__ import annotations

import re

import attrs
import phonenumbers

from callboard.errors import InvalidInput

_PUNCTUATION = str.maketrans("", "", " -.()\u00a0\u2011\u2010\u2013")
_INDIAN = re.compile(r"(?:\+91|0091|91|0)?([6-9][0-9]{9})")
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{6,14}")


@attrs.frozen
class Phone:
    """A number in E.164 with ``+``; ``valid`` says whether the numbering plan knows it (a possible one is enough to store)."""

    e164: str
    valid: bool = True

    def __str__(self) -> str:
        return self.e164

    def masked(self) -> str:
        """For people who may not see it: the last two digits."""
        return f"***{self.e164[-2:]}"


def parse_phone(text: str, region: str, *, field: str = "phone") -> Phone:
    """Read a phone as a person writes it; contracts/README.md section 3.

    Indian mobiles have the five spellings of the contract; anything with ``+`` must be *possible*;
    every other region takes its own national forms. Idempotent: ``parse(parse(x).e164) == parse(x)``.
    Raises :class:`InvalidInput` naming ``field``.
    """
    bare = text.translate(_PUNCTUATION)
    if not bare.isascii() or not bare or len(bare) > 32:
        raise InvalidInput("Not a phone number", field=field)
    if region == "IN" and (match := _INDIAN.fullmatch(bare)):
        return Phone(f"+91{match[1]}")
    if bare.startswith("+"):
        if not _INTERNATIONAL.fullmatch(bare):
            raise InvalidInput("Not a phone number", field=field)
        country = None
    elif region == "IN" or not bare.isdigit():
        raise InvalidInput("Not a phone number", field=field)
    else:
        country = region
    try:
        number = phonenumbers.parse(bare, country)
    except phonenumbers.NumberParseException:
        raise InvalidInput("Not a phone number", field=field) from None
    if number.extension or not phonenumbers.is_possible_number(number):
        raise InvalidInput("Not a phone number", field=field)
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return Phone(e164, phonenumbers.is_valid_number(number))


def clean_text(text: str, *, field: str, max_length: int, min_length: int = 0) -> str:
    """Refuse NUL, lone surrogates and wrong lengths (code points); otherwise the text exactly as given."""
    if "\x00" in text:
        raise InvalidInput("NUL characters are not allowed", field=field)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput("Not valid Unicode text", field=field) from None
    if len(text) > max_length:
        raise InvalidInput(f"At most {max_length} characters", field=field)
    if len(text) < min_length or (min_length and not text.strip()):
        raise InvalidInput("Must not be empty" if min_length == 1 else f"At least {min_length} characters", field=field)
    return text
