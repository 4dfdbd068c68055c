"""Small values that everybody shares: phones and text that a database can hold."""

from __future__ import annotations

import functools
import re

import attrs
import phonenumbers

from callboard.errors import InvalidInput

_PUNCTUATION = str.maketrans("", "", " -.()\u00a0\u2011\u2010\u2013")
_INDIAN = re.compile(r"(?:\+91|0091|91|0)?([6-9][0-9]{9})")
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{6,14}")
_INDIAN_MOBILE_LIKE = re.compile(r"\+91[6-9]")
_INDIAN_LENGTH = 13
_MAX_WRITTEN = 32
_POSSIBLE = phonenumbers.ValidationResult.IS_POSSIBLE


@attrs.frozen
class Phone:
    """A number in E.164 with ``+``; ``valid``: the numbering plan knows it (a possible one is enough to store)."""

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
    Stricter than libphonenumber in two places: a number that can only be dialled locally is no destination, and an
    Indian number that starts like a mobile has exactly ten digits. Raises :class:`InvalidInput` naming ``field``.
    """
    bare = text.translate(_PUNCTUATION)
    if not bare or not bare.isascii() or len(bare) > _MAX_WRITTEN:
        raise InvalidInput("Not a phone number", field=field)
    if region == "IN":
        if match := _INDIAN.fullmatch(bare):
            national = match[1]
            return Phone(f"+91{national}", _plan("91").valid.fullmatch(national) is not None)
        if bare[0] != "+":
            raise InvalidInput("Not a phone number", field=field)
    if bare[0] == "+":
        if not _INTERNATIONAL.fullmatch(bare):
            raise InvalidInput("Not a phone number", field=field)
        quick = _quick_international(bare)
    elif bare.isdigit():
        quick = _quick_national(bare, region)
    else:
        raise InvalidInput("Not a phone number", field=field)
    phone = quick or _slow(bare, None if bare[0] == "+" else region)
    if phone is None:
        raise InvalidInput("Not a phone number", field=field)
    return phone


@attrs.frozen
class _Plan:
    """What the fast path knows of one calling code, made from libphonenumber's own tables.

    ``valid`` matches the national numbers that are valid in the code's main region, ``stripped`` what libphonenumber
    might take off the front of one, ``trunk`` the prefix dialled at home and ``abroad`` the one for other countries.
    """

    region: str
    valid: re.Pattern[str]
    stripped: re.Pattern[str]
    trunk: str | None
    abroad: re.Pattern[str]


_NEVER = re.compile("(?!)")
_NO_PLAN = _Plan("", _NEVER, _NEVER, None, _NEVER)


@functools.cache  # one entry per calling code: about 220 in the world
def _plan(code: str) -> _Plan:
    """The fast path of one calling code; building it takes about a millisecond. ``_NO_PLAN`` where there is none."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code), ())
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(regions[0], None) if regions else None
    if metadata is None or metadata.leading_digits or metadata.general_desc is None:
        return _NO_PLAN
    general = metadata.general_desc
    kinds = (
        metadata.mobile,
        metadata.fixed_line,
        metadata.toll_free,
        metadata.shared_cost,
        metadata.voip,
        metadata.personal_number,
        metadata.pager,
        metadata.uan,
        metadata.voicemail,
        metadata.premium_rate,
    )
    forms = [
        f"(?=(?:{'|'.join(f'[0-9]{{{length}}}' for length in lengths)})\\Z)(?:{kind.national_number_pattern})"
        for kind in kinds
        if kind is not None and kind.national_number_pattern
        if (lengths := [n for n in kind.possible_length or general.possible_length if n in general.possible_length])
    ]
    return _Plan(
        regions[0],
        re.compile(f"(?=(?:{general.national_number_pattern})\\Z)(?:{'|'.join(forms)})") if forms else _NEVER,
        re.compile(metadata.national_prefix_for_parsing) if metadata.national_prefix_for_parsing else _NEVER,
        metadata.national_prefix if metadata.national_prefix_transform_rule is None else None,
        re.compile(metadata.international_prefix) if metadata.international_prefix else _NEVER,
    )


@functools.cache  # the key is a known region: phonenumbers answers 0 for every other text
def _code_of(region: str) -> str:
    return str(phonenumbers.country_code_for_region(region))


def _quick_international(bare: str) -> Phone | None:
    """A valid number of a main region, written with ``+``; None when only libphonenumber itself can say."""
    for end in (2, 3, 4):
        code = bare[1:end]
        if int(code) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            plan, national = _plan(code), bare[end:]
            if plan.valid.fullmatch(national) and not plan.stripped.match(national):
                return Phone(bare)
            return None
    return None


def _quick_national(bare: str, region: str) -> Phone | None:
    """The same for a number as it is dialled inside ``region``."""
    code = _code_of(region)
    plan = _plan(code)
    if plan.region != region or plan.abroad.match(bare):
        return None
    prefix = plan.stripped.match(bare)
    if prefix is not None and prefix.group() != plan.trunk:
        return None
    national = bare if prefix is None else bare[prefix.end() :]
    if plan.valid.fullmatch(national) and (prefix is None or not plan.stripped.match(national)):
        e164 = f"+{code}{national}"
        return Phone(e164) if _INTERNATIONAL.fullmatch(e164) else None
    return None


def _slow(bare: str, region: str | None) -> Phone | None:
    """What libphonenumber makes of it, if that is a number that can be dialled from anywhere and means itself."""
    try:
        number = phonenumbers.parse(bare, region)
        if number.extension or phonenumbers.is_possible_number_with_reason(number) != _POSSIBLE:
            return None
        e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        if e164 != bare and phonenumbers.parse(e164, None) != number:
            return None
    except phonenumbers.NumberParseException:
        return None
    if not _INTERNATIONAL.fullmatch(e164):  # some plans allow more digits than E.164 does
        return None
    if _INDIAN_MOBILE_LIKE.match(e164) and len(e164) != _INDIAN_LENGTH:
        return None
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
