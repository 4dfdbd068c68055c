from __future__ import annotations

import datetime as dt
import io
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from callboard.contacts.model import RowError
from callboard.errors import InvalidInput
from callboard_adapters.files import open_rows

NS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
HEADER = '<row r="1"><c r="A1" t="inlineStr"><is><t>phone</t></is></c></row>'
PARTS = {
    "[Content_Types].xml": '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook {NS} xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
    '<sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" '
    'Target="worksheets/sheet1.xml"/></Relationships>',
}


SHEET = "xl/worksheets/sheet1.xml"
STRINGS = "xl/sharedStrings.xml"


def sheet(body: str) -> str:
    return f"<worksheet {NS}><sheetData>{body}</sheetData></worksheet>"


def strings(items: Iterable[str]) -> str:
    return f"<sst {NS}>" + "".join(f"<si><t>{item}</t></si>" for item in items) + "</sst>"


def archive(
    parts: Mapping[str, str | bytes | Callable[[], Iterable[bytes]]], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, content in {**PARTS, **parts}.items():
            with made.open(name, "w", force_zip64=False) as part:
                if callable(content):
                    for piece in content():
                        part.write(piece)
                else:
                    part.write(content.encode() if isinstance(content, str) else content)
    return out.getvalue()


def book(*table: Iterable[object], sheets: int = 1) -> bytes:
    made = openpyxl.Workbook()
    assert made.active is not None
    for row in table:
        made.active.append(list(row))
    for n in range(1, sheets):
        made.create_sheet(f"more {n}").append(["phone"])
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def rows(data: bytes) -> list[tuple[int, Any]]:
    with open_rows(io.BytesIO(data), "people.xlsx") as table:
        found: list[tuple[int, Any]] = list(table)
        assert table.count() == len(found)
    return found


def refusal(data: bytes, name: str = "people.xlsx") -> str:
    with pytest.raises(InvalidInput) as caught:
        open_rows(io.BytesIO(data), name)
    assert caught.value.field == "file"
    return caught.value.message


def test_cells_are_read_as_they_would_stand_in_a_csv() -> None:
    found = rows(
        book(
            ["phone", "birthDate", "smsConsent", "n", "seen", "formula"],
            [919876543210, dt.date(1990, 5, 4), True, 1.5, dt.datetime(2026, 1, 2, 3, 4), "=1+1"],
            [],
            ["9876543211", "04.05.1990", False, None, dt.time(3, 4), None],
        )
    )
    assert found == [
        (
            2,
            {
                "phone": "919876543210",
                "birthDate": "1990-05-04",
                "smsConsent": "true",
                "n": "1.5",
                "seen": "2026-01-02T03:04:00",
                "formula": None,
            },
        ),
        (
            4,
            {
                "phone": "9876543211",
                "birthDate": "04.05.1990",
                "smsConsent": "false",
                "n": "",
                "seen": "03:04:00",
                "formula": None,
            },
        ),
    ]


def test_the_kind_of_file_is_told_by_its_content_not_its_name() -> None:
    data = book(["phone"], ["9876543210"])
    with open_rows(io.BytesIO(data), "people.csv") as table:
        assert list(table) == [(2, {"phone": "9876543210"})]


def test_only_the_first_visible_sheet_is_read_and_rows_keep_their_numbers() -> None:
    made = openpyxl.Workbook()
    hidden = made.active
    assert hidden is not None
    hidden.append(["secret"])
    hidden.sheet_state = "hidden"
    shown = made.create_sheet("People")
    shown["B3"] = "phone"
    shown["B5"] = "9876543210"
    shown["C5"] = "too much"
    shown.merge_cells("B7:C8")
    out = io.BytesIO()
    made.save(out)
    found = rows(out.getvalue())
    line, error = found[0]
    assert line == 5
    assert isinstance(error, RowError)


def test_cells_that_do_not_say_where_they_are_are_read() -> None:
    body = "<row><c t='inlineStr'><is><t>phone</t></is></c></row><row><c><v>9876543210</v></c></row>"
    assert rows(archive({SHEET: sheet(body)})) == [(2, {"phone": "9876543210"})]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"not a zip", "whatever its name"),
        (b"PK\x03\x04 not a zip", "not an Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(5_000), "xls"),
        (book(["phone"])[:-30], "not an Excel"),
        (book(["phone"])[: len(book(["phone"])) // 2], "not an Excel"),
        (archive({}), "not an Excel"),
        (archive({SHEET: "<nonsense"}), ""),
        (archive({SHEET: ""}), ""),
        (archive({SHEET: sheet("")}), "empty"),
    ],
)
def test_a_file_that_is_no_workbook_is_refused_with_a_reason(data: bytes, word: str) -> None:
    assert word in refusal(data)


def test_a_zip_without_a_workbook_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("readme.txt", "hello")
        made.writestr("inner.zip", archive({}))
    assert "not an Excel" in refusal(out.getvalue())


def test_an_encrypted_entry_is_refused() -> None:
    data = bytearray(book(["phone"]))
    at = data.rfind(b"PK\x01\x02")
    data[at + 8] |= 1
    assert "password" in refusal(bytes(data))


def test_entities_and_document_types_are_refused() -> None:
    lol = (
        '<!DOCTYPE x [<!ENTITY a "' + "x" * 1000 + '"><!ENTITY b "&a;&a;&a;"><!ENTITY e SYSTEM "file:///etc/passwd">]>'
    )
    assert "not an Excel" in refusal(archive({SHEET: lol + sheet(HEADER)}))
    assert "not an Excel" in refusal(archive({STRINGS: lol + strings(["&b;"]), SHEET: sheet(HEADER)}))
    assert "not an Excel" in refusal(archive({SHEET: sheet(HEADER).encode("utf-16")}))


def lying(data: bytes, part: str, size: int) -> bytes:
    """The same archive whose directory states another expanded size for one part."""
    changed = bytearray(data)
    at = data.rfind(b"PK\x01\x02", 0, data.rfind(part.encode()))
    struct.pack_into("<L", changed, at + 24, size)
    return bytes(changed)


def test_a_stated_size_is_not_believed() -> None:
    data = archive({SHEET: sheet(HEADER + "<row/>" * 50_000)})
    assert refusal(lying(data, SHEET, 100))
    assert refusal(lying(data, SHEET, 2**31 - 1))


def zeros(n: int) -> Callable[[], Iterable[bytes]]:
    return lambda: (b" " * 1_048_576 for _ in range(n))


def columns(attributes: str, place: str) -> str:
    return sheet(HEADER + f'<row r="2"><c r="A2"><v>1</v></c><c {attributes}{place}><v>1</v></c></row>')


def far(place: str) -> dict[str, str | bytes | Callable[[], Iterable[bytes]]]:
    return {SHEET: columns("", f'r="{place}"')}


def repeated(unit: str, n: int, tail: str = "") -> Callable[[], Iterable[bytes]]:
    def pieces() -> Iterable[bytes]:
        yield f"<worksheet {NS}><sheetData>{HEADER}".encode()
        block = unit.encode() * 1_000
        for _ in range(n // 1_000):
            yield block
        yield f"{tail}</sheetData></worksheet>".encode()

    return pieces


LONG = "x" * 32_000
BOMBS: dict[str, Callable[[], bytes]] = {
    "1 GB of blanks in the sheet": lambda: archive({SHEET: zeros(1_000)}),
    "200 MB in the shared strings": lambda: archive({STRINGS: zeros(200), SHEET: sheet(HEADER)}),
    "200 MB in a part of another name": lambda: archive({"xl/media/image.png": zeros(200), SHEET: sheet(HEADER)}),
    "200 MB stated as 100 bytes": lambda: lying(archive({SHEET: zeros(200)}), SHEET, 100),
    "two cells in opposite corners": lambda: archive(far("XFD1048576")),
    "a narrow sheet of a million rows": lambda: archive(far("C1048576")),
    "a corner in single quotes": lambda: archive({SHEET: columns("", "r='ALL1048576'")}),
    "a corner after a > in an attribute": lambda: archive({SHEET: columns('x=">" ', 'r="SF1048576"')}),
    "a corner after a long attribute": lambda: archive({SHEET: columns(f'x="{LONG}" ', 'r="SF1048576"')}),
    "a corner with spaces round the sign": lambda: archive({SHEET: columns("", 'r = "SF1048576"')}),
    "a corner in a prefixed tag": lambda: archive(
        {SHEET: columns("", 'r="SF1048576"').replace("<c ", "<x:c ").replace("</c>", "</x:c>")}
    ),
    "a corner in a sheet of another name": lambda: archive(
        {
            "xl/strange.bin": columns("", 'r="XFD1048576"'),
            "xl/_rels/workbook.xml.rels": PARTS["xl/_rels/workbook.xml.rels"].replace(
                "worksheets/sheet1.xml", "strange.bin"
            ),
        }
    ),
    "rows without numbers and one wide row": lambda: archive(
        {SHEET: repeated("<row/>", 1_000_000, "<row>" + "<c><v>1</v></c>" * 400 + "</row>")}
    ),
    "millions of tiny cells": lambda: archive({SHEET: repeated("<row><c><v>1</v></c></row>", 2_500_000)}),
    "one long string in a hundred thousand cells": lambda: archive(
        {STRINGS: strings([LONG, "b"]), SHEET: repeated('<row><c t="s"><v>0</v></c></row>', 100_000)}
    ),
    "the same with its number written oddly": lambda: archive(
        {STRINGS: strings([LONG]), SHEET: repeated('<row><c t="s"><v>&#48;</v></c></row>', 100_000)}
    ),
    "millions of empty strings": lambda: archive(
        {STRINGS: f"<sst {NS}>" + "<si/>" * 4_000_000 + "</sst>", SHEET: sheet(HEADER)}
    ),
    "a hundred thousand entries": lambda: archive(
        {f"x{n}": "" for n in range(65_000)} | {f"y{n}": "" for n in range(35_000)}
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_seconds_without_much_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.xlsx"
    path.write_bytes(BOMBS[name]())
    assert path.stat().st_size < 12_000_000
    program = (
        "import resource, sys, time\n"
        "from callboard.errors import InvalidInput\n"
        "from callboard_adapters.files import open_rows\n"
        "import callboard_adapters.files.csv, callboard_adapters.files.xlsx\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "start = time.process_time()\n"  # the machine may be busy with other tests
        "try:\n"
        "    open_rows(sys.argv[1])\n"
        "except InvalidInput as refusal:\n"
        "    assert refusal.field == 'file'\n"
        "    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "    print(f'{time.process_time() - start:.2f} {growth / 1024:.0f} {refusal.message}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    seconds, megabytes, reason = done.stdout.split(" ", 2)
    assert "too large" in reason or "columns" in reason, (
        done.stdout
    )  # refused for its size, not for a slip of this test
    assert float(seconds) < 5, done.stdout
    assert float(megabytes) < 100, done.stdout


def test_an_ordinary_workbook_of_twenty_thousand_rows_is_read() -> None:
    made = openpyxl.Workbook(write_only=True)
    page = made.create_sheet("People")
    page.append(["phone", "firstName", "lastName", "email", "notes"])
    long = "a note of some length, " * 40
    for n in range(20_000):
        page.append([f"98{n:08d}", "Asha", "Patel", f"a{n}@example.com", long if n % 100 == 0 else ""])
    out = io.BytesIO()
    made.save(out)
    assert len(rows(out.getvalue())) == 20_000
