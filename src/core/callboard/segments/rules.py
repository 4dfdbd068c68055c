"""What a criteria tree means, how it is read and how it is printed; contracts/README.md section 4.

The meaning is two-valued: a leaf matches or it does not, so a contact without a birth date fails :class:`AgeBetween`
and passes ``Not(AgeBetween)``. The SQL compiler shares :func:`born_between` and :func:`birthdays` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from callboard.contacts.model import Consent, Contact, Gender
from callboard.errors import InvalidInput
from callboard.ids import ContactId, SegmentId
from callboard.segments.model import (
    AgeBetween,
    AllOf,
    AnyOf,
    BirthdayOn,
    ConsentIs,
    CreatedBetween,
    Criteria,
    GenderIs,
    HasTag,
    MemberOf,
    Not,
)

MAX_DEPTH: Final = 8
MAX_NODES: Final = 100
MAX_TAGS: Final = 50
MAX_TAG_LENGTH: Final = 64
MAX_AGE: Final = 150

SYSTEM_SEGMENTS: Final[tuple[tuple[str, str, Criteria], ...]] = (
    ("gender_male", "Male", GenderIs(gender=Gender.MALE)),
    ("gender_female", "Female", GenderIs(gender=Gender.FEMALE)),
    ("gender_unknown", "Unknown", GenderIs(gender=None)),
    ("age_18_24", "Age 18-24", AgeBetween(gte=18, lte=24)),
    ("age_25_34", "Age 25-34", AgeBetween(gte=25, lte=34)),
    ("age_35_44", "Age 35-44", AgeBetween(gte=35, lte=44)),
    ("age_45_54", "Age 45-54", AgeBetween(gte=45, lte=54)),
    ("age_55_plus", "Age 55+", AgeBetween(gte=55)),
)
"""Key, name and criteria of the segments every tenant has, in their order; contracts/store.md "System Segments"."""


def age_on(birth_date: date, today: date) -> int:
    """Completed years. Somebody born on 29 February completes a year on 1 March of a common year."""
    return today.year - birth_date.year - ((today.month, today.day) < (birth_date.month, birth_date.day))


def born_between(age: AgeBetween, today: date) -> tuple[date | None, date | None]:
    """The first and the last birth date (inclusive, None: no bound) with ``age_on(birth, today)`` inside ``age``."""
    latest = None if age.gte is None else _years_before(today, age.gte)
    earliest = None if age.lte is None else _day_after(_years_before(today, age.lte + 1))
    return earliest, latest


def _years_before(today: date, years: int) -> date:
    """The last birth date of those who have completed ``years`` on ``today``."""
    year = today.year - years
    if year < date.min.year:
        return date.min
    try:
        return today.replace(year=year)
    except ValueError:  # 29 February of a common year: those of 1 March have not had their day yet
        return date(year, 2, 28)


def _day_after(day: date) -> date:
    return day if day == date.min else day + timedelta(days=1)


def birthdays(day: date) -> frozenset[tuple[int, int]]:
    """The (month, day) pairs whose birthday is kept on ``day``: on 28 February of a common year also the 29th."""
    pairs = {(day.month, day.day)}
    if (day.month, day.day) == (2, 28) and not _leap(day.year):
        pairs.add((2, 29))
    return frozenset(pairs)


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def matches(
    criteria: Criteria, contact: Contact, *, today: date, members: Mapping[SegmentId, AbstractSet[ContactId]]
) -> bool:
    """Whether the contact is meant. ``members`` are the custom segments' lists; one that is not there is empty."""
    match criteria:
        case GenderIs(gender=gender):
            return contact.gender is gender
        case AgeBetween():
            if contact.birth_date is None:
                return False
            earliest, latest = born_between(criteria, today)
            born = contact.birth_date
            return (earliest is None or earliest <= born) and (latest is None or born <= latest)
        case HasTag(tags=tags):
            return not tags.isdisjoint(contact.tags)
        case CreatedBetween(after=after, before=before):
            return (after is None or after <= contact.created_at) and (before is None or contact.created_at < before)
        case ConsentIs(consent=consent):
            return contact.consent is consent
        case BirthdayOn(day=day):
            return contact.birth_date is not None and (
                (contact.birth_date.month, contact.birth_date.day) in birthdays(day)
            )
        case MemberOf(segment_id=segment_id):
            return contact.id in members.get(segment_id, frozenset())
        case AllOf(parts=parts):
            return all(matches(part, contact, today=today, members=members) for part in parts)
        case AnyOf(parts=parts):
            return any(matches(part, contact, today=today, members=members) for part in parts)
        case Not(part=part):
            return not matches(part, contact, today=today, members=members)


def lists_used(criteria: Criteria) -> frozenset[SegmentId]:
    """The custom segments whose member lists the criteria ask."""
    match criteria:
        case MemberOf(segment_id=segment_id):
            return frozenset({segment_id})
        case AllOf(parts=parts) | AnyOf(parts=parts):
            return frozenset().union(*(lists_used(part) for part in parts))
        case Not(part=part):
            return lists_used(part)
    return frozenset()


# --- reading ------------------------------------------------------------------------------------------------------


def parse_criteria(value: object, *, field: str = "criteria", zone: str = "UTC") -> Criteria:
    """Read the JSON form: ``{gender, age:{gte,lte}, tags, …}`` (all must hold) or ``{all|any|not:[…]}``.

    ``not`` lists what must not hold, none of it. A date without a time is the start of that day in ``zone``.
    Nothing is guessed: an unknown key, an empty object or a wrong type raises :class:`InvalidInput` naming the path.
    At most 8 levels and 100 parts.
    """
    return _Reader(zone).criteria(value, field, 1)


class _Reader:
    """One reading, with its count of parts."""

    def __init__(self, zone: str) -> None:
        self._zone = zone
        self._nodes = 0

    def criteria(self, value: object, path: str, depth: int) -> Criteria:
        if depth > MAX_DEPTH:
            raise InvalidInput(f"At most {MAX_DEPTH} levels", field=path)
        if not isinstance(value, Mapping):
            raise InvalidInput("Must be an object", field=path)
        if not value:
            raise InvalidInput("Must not be empty", field=path)
        parts: list[Criteria] = []
        created = {key: value[key] for key in ("createdAfter", "createdBefore") if key in value}
        for key, item in value.items():
            if key in created:
                if created and key == next(k for k in value if k in created):
                    parts.append(self._created(created, path))
            else:
                parts.append(self._part(key, item, path, depth))
        self._count(len(parts), path)
        return parts[0] if len(parts) == 1 else AllOf(parts=tuple(parts))

    def _part(self, key: object, value: object, path: str, depth: int) -> Criteria:
        where = f"{path}.{key}" if isinstance(key, str) and len(key) <= 64 else path
        match key:
            case "all":
                return AllOf(parts=tuple(self._list(value, where, depth)))
            case "any":
                return AnyOf(parts=tuple(self._list(value, where, depth)))
            case "not":
                items = [value] if isinstance(value, Mapping) else value
                parts = tuple(self._list(items, where, depth))
                if not parts:
                    raise InvalidInput("Must not be empty", field=where)
                return Not(part=parts[0] if len(parts) == 1 else AnyOf(parts=parts))
        if isinstance(key, str) and (read := _LEAVES.get(key)) is not None:
            return read(value, where)
        raise InvalidInput("Unknown criteria", field=where)

    def _list(self, value: object, path: str, depth: int) -> Iterator[Criteria]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise InvalidInput("Must be a list", field=path)
        self._count(len(value), path)
        for n, item in enumerate(value):
            yield self.criteria(item, f"{path}[{n}]", depth + 1)

    def _created(self, bounds: Mapping[str, object], path: str) -> Criteria:
        read = {key: self._moment(value, f"{path}.{key}") for key, value in bounds.items()}
        after, before = read.get("createdAfter"), read.get("createdBefore")
        if after is not None and before is not None and after >= before:
            raise InvalidInput("createdAfter must be before createdBefore", field=f"{path}.createdAfter")
        return CreatedBetween(after=after, before=before)

    def _moment(self, value: object, path: str) -> datetime:
        try:
            if not isinstance(value, str) or not 10 <= len(value) <= 40:
                raise ValueError  # noqa: TRY301 - one answer for everything that is no time
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=ZoneInfo(self._zone))
            return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise InvalidInput("Must be an ISO 8601 date or time", field=path) from None

    def _count(self, n: int, path: str) -> None:
        self._nodes += n
        if self._nodes > MAX_NODES:
            raise InvalidInput(f"At most {MAX_NODES} parts", field=path)


_GENDERS: Final = {gender.value: gender for gender in Gender}
_CONSENTS: Final = {consent.value: consent for consent in Consent}


def _read_gender(value: object, path: str) -> Criteria:
    if value is None or value == "unknown":
        return GenderIs(gender=None)
    if isinstance(value, str) and (gender := _GENDERS.get(value)) is not None:
        return GenderIs(gender=gender)
    raise InvalidInput("Must be male, female, other or null", field=path)


def _read_age(value: object, path: str) -> Criteria:
    if not isinstance(value, Mapping) or not value:
        raise InvalidInput("Must be an object with gte or lte", field=path)
    for key, bound in value.items():
        where = f"{path}.{key}" if isinstance(key, str) and len(key) <= 64 else path
        if key not in ("gte", "lte"):
            raise InvalidInput("Unknown criteria", field=where)
        if type(bound) is not int or not 0 <= bound <= MAX_AGE:
            raise InvalidInput(f"Must be a whole number from 0 to {MAX_AGE}", field=where)
    gte, lte = value.get("gte"), value.get("lte")
    if gte is not None and lte is not None and gte > lte:
        raise InvalidInput("gte must not be above lte", field=f"{path}.gte")
    return AgeBetween(gte=gte, lte=lte)


def _read_tags(value: object, path: str) -> Criteria:
    tags = [value] if isinstance(value, str) else value
    if not isinstance(tags, Sequence) or not 1 <= len(tags) <= MAX_TAGS:
        raise InvalidInput(f"Must be a list of 1 to {MAX_TAGS} tags", field=path)
    for tag in tags:
        if not isinstance(tag, str) or not tag.strip() or len(tag) > MAX_TAG_LENGTH or "\x00" in tag:
            raise InvalidInput(f"A tag is a text of 1 to {MAX_TAG_LENGTH} characters", field=path)
    return HasTag(tags=frozenset(tags))


def _read_consent(value: object, path: str) -> Criteria:
    if isinstance(value, str) and (consent := _CONSENTS.get(value)) is not None:
        return ConsentIs(consent=consent)
    raise InvalidInput("Must be opted_in, opted_out or unknown", field=path)


def _read_birthday(value: object, path: str) -> Criteria:
    try:
        if isinstance(value, str) and len(value) == 10:
            return BirthdayOn(day=date.fromisoformat(value))
    except ValueError:
        pass
    raise InvalidInput("Must be a date YYYY-MM-DD", field=path)


def _read_list(value: object, path: str) -> Criteria:
    try:
        if isinstance(value, str) and len(value) in (32, 36):
            return MemberOf(segment_id=SegmentId(UUID(value)))
    except ValueError:
        pass
    raise InvalidInput("Unknown segment", field=path)


_LEAVES: Final[Mapping[str, Callable[[object, str], Criteria]]] = {
    "gender": _read_gender,
    "age": _read_age,
    "tags": _read_tags,
    "smsConsent": _read_consent,
    "birthdayOn": _read_birthday,
    "segmentId": _read_list,
}


# --- printing -----------------------------------------------------------------------------------------------------


def dump_criteria(criteria: Criteria) -> dict[str, object]:
    """The JSON form; ``parse_criteria(dump_criteria(c)) == c`` for every criteria that can be read.

    Parts under different keys print flat (``{"gender": "male", "age": {…}}``), others as ``{"all": […]}``.
    """
    match criteria:
        case GenderIs(gender=gender):
            return {"gender": None if gender is None else gender.value}
        case AgeBetween(gte=gte, lte=lte):
            return {"age": {key: bound for key, bound in (("gte", gte), ("lte", lte)) if bound is not None}}
        case HasTag(tags=tags):
            return {"tags": sorted(tags)}
        case CreatedBetween(after=after, before=before):
            bounds = (("createdAfter", after), ("createdBefore", before))
            return {key: _print_moment(moment) for key, moment in bounds if moment is not None}
        case ConsentIs(consent=consent):
            return {"smsConsent": consent.value}
        case BirthdayOn(day=day):
            return {"birthdayOn": day.isoformat()}
        case MemberOf(segment_id=segment_id):
            return {"segmentId": str(segment_id)}
        case AllOf(parts=parts):
            return _dump_all(parts)
        case AnyOf(parts=parts):
            return {"any": [dump_criteria(part) for part in parts]}
        case Not(part=AnyOf(parts=parts)) if len(parts) > 1:
            return {"not": [dump_criteria(part) for part in parts]}
        case Not(part=part):
            return {"not": [dump_criteria(part)]}


def _dump_all(parts: tuple[Criteria, ...]) -> dict[str, object]:
    kinds = {type(part) for part in parts}
    if len(parts) > 1 and len(kinds) == len(parts) and AllOf not in kinds:
        return {key: value for part in parts for key, value in dump_criteria(part).items()}
    return {"all": [dump_criteria(part) for part in parts]}


def _print_moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
