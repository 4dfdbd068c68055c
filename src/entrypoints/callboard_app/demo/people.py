"""The demo shop's people: a real CSV file, the same on every machine, with the dirt that real files have."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Final

COLUMNS: Final = ("phone", "firstName", "lastName", "email", "gender", "birthDate", "smsConsent")
_SEED: Final = 20_261_120
_FEMALE: Final = (
    *("Aarohi", "Ananya", "Diya", "Isha", "Kavya", "Meera", "Neha", "Nisha", "Pooja", "Priya", "Riya", "Saanvi"),
    *("Sara", "Shreya", "Tara", "Zoya", "Ingrid", "Léa", "Olga", "Søs"),
)
_MALE: Final = (
    *("Aarav", "Aditya", "Arjun", "Dev", "Imran", "Ishaan", "Kabir", "Karan", "Manav", "Nikhil", "Rahul", "Rohan"),
    *("Sameer", "Vihaan", "Vikram", "Yash", "Björn", "José", "Łukasz", "Tom"),
)
_LAST: Final = (
    *("Bose", "Chopra", "Das", "Desai", "Ghosh", "Gupta", "Iyer", "Jain", "Joshi", "Kapoor", "Khan", "Kumar", "Mehta"),
    *("Malhotra", "Menon", "Nair", "Patel", "Rao", "Reddy", "Shah", "Sharma", "Singh", "Sinha", "Verma", "Yadav"),
    *("O'Neill", "García", "Müller", "Nguyễn", "Żak"),
)
MAGIC: Final = tuple(f"99900{n:02d}" for n in (1, 2, 3, 4, 5, 10, 11, 12, 13))
"""Number endings that meet trouble at the provider twin: refusals, a busy answer, failures, receipts gone astray."""
_STYLES: Final = ("+91{n}", "{a} {b}", "0{n}", "91{n}", "+91 {a}-{b}", "0091{n}")


def rows(count: int, *, seed: int = _SEED) -> Iterator[dict[str, str]]:
    """``count`` rows: about 1 in 400 a duplicate, 1 in 500 unreadable, 1 in 100 with a number that meets trouble.

    Phones are Indian mobiles in all their spellings, a few come from elsewhere. Two thirds are opted in.
    """
    dice = random.Random(seed)  # noqa: S311 - the same people every time is the point
    newest, span = date(2007, 6, 30), 22_000
    previous = ""
    for number in range(count):
        gender = dice.choices(("female", "male", "other", ""), (47, 45, 2, 6))[0]
        first = dice.choice(_FEMALE if gender == "female" else _MALE if gender == "male" else _FEMALE + _MALE)
        last = dice.choice(_LAST)
        digits = f"{dice.choice('6789')}{number:07d}{dice.randrange(100):02d}"
        if number % 97 == 5:
            digits = f"{dice.choice('6789')}{number // 97 % 100:02d}{MAGIC[number // 97 % len(MAGIC)]}"
        phone = dice.choice(_STYLES).format(n=digits, a=digits[:5], b=digits[5:])
        kind = dice.random()
        if kind < 0.002:
            phone = dice.choice(("12345", "not known", "+91 98", "98765-4321"))
        elif kind < 0.0045 and previous:
            phone = previous
        elif kind < 0.02:
            phone = f"+4479{number % 100_000_000:08d}"
        else:
            previous = phone
        born = (newest - timedelta(days=dice.randrange(span))).isoformat() if dice.random() < 0.85 else ""
        yield {
            "phone": phone,
            "firstName": first if dice.random() < 0.97 else "",
            "lastName": last,
            "email": f"{first}.{last}{number}@example.com".lower().replace("'", "") if dice.random() < 0.6 else "",
            "gender": gender,
            "birthDate": born,
            "smsConsent": dice.choices(("opted_in", "opted_out", "unknown", ""), (67, 8, 15, 10))[0],
        }


def write_csv(path: Path, count: int) -> Path:
    """Write the file; returns ``path``."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows(count))
    return path
