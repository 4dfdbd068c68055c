"""The demo's people are the same everywhere and look like people in a real file."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

from callboard.errors import InvalidInput
from callboard.values import parse_phone
from callboard_app.demo.people import COLUMNS, rows, write_csv


def test_the_same_file_every_time(tmp_path: Path) -> None:
    first = write_csv(tmp_path / "a.csv", 500).read_bytes()
    assert first == write_csv(tmp_path / "b.csv", 500).read_bytes()
    assert first.decode().splitlines()[0] == ",".join(COLUMNS)
    assert first.decode().splitlines()[1:101] == write_csv(tmp_path / "c.csv", 100).read_text().splitlines()[1:]


def test_ten_thousand_rows_hold_every_kind_of_person_and_of_dirt() -> None:
    people = list(rows(10_000))
    assert len(people) == 10_000
    phones: Counter[str] = Counter()
    invalid = 0
    for person in people:
        try:
            phones[parse_phone(person["phone"], "IN").e164] += 1
        except InvalidInput:
            invalid += 1
    assert 5 <= invalid <= 60
    assert 5 <= sum(n - 1 for n in phones.values()) <= 80
    assert {p["gender"] for p in people} == {"female", "male", "other", ""}
    assert {p["smsConsent"] for p in people} == {"opted_in", "opted_out", "unknown", ""}
    assert sum(p["smsConsent"] == "opted_in" for p in people) > 6_000
    assert sum(not p["birthDate"] for p in people) > 1_000
    assert len({phone[:4] for phone in phones}) > 3  # more than one country


def test_the_example_script_writes_the_file(tmp_path: Path) -> None:
    script = Path(__file__).parents[3] / "examples" / "make_contacts_csv.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "people.csv"), "20"], check=True, capture_output=True)
    with (tmp_path / "people.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 20
