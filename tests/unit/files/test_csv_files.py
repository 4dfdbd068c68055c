from __future__ import annotations

import codecs
import csv as stdlib_csv
import io
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.contacts.model import RowError
from callboard.errors import InvalidInput
from callboard_adapters.files import open_rows

GOOD = "phone,firstName\n9876543210,Asha\n9876543211,Ravi\n"
READ = [(2, {"phone": "9876543210", "firstName": "Asha"}), (3, {"phone": "9876543211", "firstName": "Ravi"})]


def rows(data: bytes | str, name: str = "people.csv") -> list[tuple[int, Any]]:
    raw = data.encode() if isinstance(data, str) else data
    with open_rows(io.BytesIO(raw), name) as table:
        found: list[tuple[int, Any]] = list(table)
        assert table.count() == len(found)
        assert list(table) == found
    return found


def refusal(data: bytes | str, name: str = "people.csv") -> str:
    with pytest.raises(InvalidInput) as caught:
        rows(data, name)
    assert caught.value.field == "file"
    return caught.value.message


@pytest.mark.parametrize(
    "data",
    [
        GOOD.encode(),
        GOOD.encode("utf-8-sig"),
        codecs.BOM_UTF16_LE + GOOD.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + GOOD.encode("utf-16-be"),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        GOOD.rstrip("\n").encode(),
        GOOD.replace(",", ";").encode(),
        GOOD.replace(",", "\t").encode(),
        GOOD.replace(",", "|").encode(),
        GOOD.replace(",", ",,").replace("firstName\n", "firstName\n").replace(",,", ",").encode(),
        ("\n".join(f'"{a}","{b}"' for a, b in [r.split(",") for r in GOOD.splitlines()])).encode(),
        GOOD.replace("\n", ",,\n").encode(),
        (GOOD + "\n\n,\n  , \n").encode(),
        GOOD.replace("firstName", " firstName ").encode(),
    ],
)
def test_csv_reads_the_same_in_every_common_spelling(data: bytes) -> None:
    assert rows(data) == READ


def test_excels_separator_line_is_honoured_and_lines_still_count() -> None:
    found = rows("sep=;\r\nphone;firstName\r\n9876543210;a,b\r\n")
    assert found == [(3, {"phone": "9876543210", "firstName": "a,b"})]


def test_windows_and_latin_1_text_is_read() -> None:
    assert rows("phone,firstName\n1,José “x” €\n".encode("cp1252")) == [(2, {"phone": "1", "firstName": "José “x” €"})]
    assert rows(b"phone,firstName\n1,\x81\xe9\n") == [(2, {"phone": "1", "firstName": "\x81é"})]


def test_one_latin_1_letter_at_the_end_of_a_long_file_does_not_break_it_half_way() -> None:
    data = b"phone,firstName\n" + b"9876543210,Asha\n" * 20_000 + b"9876543211,Jos\xe9\n"
    found = rows(data)
    assert len(found) == 20_001
    assert found[-1] == (20_002, {"phone": "9876543211", "firstName": "José"})


def test_rows_are_numbered_by_the_line_they_start_on_even_with_quoted_newlines() -> None:
    found = rows('\nphone,notes\n1,"a\nb\r\nc"\n\n2,x\n"3","""q"""\n')
    assert [line for line, _ in found] == [3, 7, 8]
    assert found[0] == (3, {"phone": "1", "notes": "a\nb\r\nc"})
    assert found[2] == (8, {"phone": "3", "notes": '"q"'})


def test_a_short_row_lacks_its_last_cells_and_a_long_one_is_reported() -> None:
    found = rows("phone,firstName,email\n1\n2,b,c,d\n3,b,c,,\n")
    assert found[0] == (2, {"phone": "1", "firstName": None, "email": None})
    line, error = found[1]
    assert line == 3
    assert isinstance(error, RowError)
    assert (error.line, error.value) == (3, "d")
    assert found[2] == (4, {"phone": "3", "firstName": "b", "email": "c"})


def test_broken_quotes_spoil_their_own_row_only() -> None:
    found = rows('phone,firstName\n1,"a"b\n2,c "d" e\n3,"x"\n')
    assert isinstance(found[0][1], RowError)
    assert found[0][0] == 2
    assert found[1:] == [(3, {"phone": "2", "firstName": 'c "d" e'}), (4, {"phone": "3", "firstName": "x"})]


def test_a_quote_that_is_never_closed_is_refused_before_any_row_is_taken() -> None:
    assert "line 3" in refusal('phone,firstName\n1,a\n2,"b\n3,c\n4,d\n')


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"\n \n,,\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"phone\n98765\x0043210\n", "NUL"),
        (codecs.BOM_UTF16_LE + "phone\n1\x002\n".encode("utf-16-le"), "NUL"),
        ("phone\n1\n".encode("utf-16-le"), "NUL"),
        (codecs.BOM_UTF16_LE + b"p\x00h", "broken"),
        (codecs.BOM_UTF32_LE + "phone\n1".encode("utf-32-le"), "UTF-32"),
        (b'phone,notes\n1,"' + b"x" * 200_000 + b'"\n', "longer"),
        (b"phone,notes\n1," + b"x" * 200_000 + b"\n", "longer"),
        (b"phone\n" + b"x" * 3_000_000, "longer"),
        (",".join(f"c{n}" for n in range(10_000)).encode() + b"\n1\n", "columns"),
        (b"phone\n" + b"," * 10_000 + b"x\n", "columns"),
        (b"phone,Phone \n1,2\n", "named"),
        (b"phone," + b"x" * 300 + b"\n1,2\n", "name"),
        (b"%PDF-1.7\x00\x01", "NUL"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "xls"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_with_a_reason(data: bytes, word: str) -> None:
    assert word in refusal(data)


def test_a_header_alone_has_no_rows_and_nameless_columns_get_numbers() -> None:
    assert rows("phone,firstName\n") == []
    with open_rows(io.BytesIO(b"phone,,email,\n1,2,3\n")) as table:
        assert table.headers == ("phone", "column 2", "email")


def test_formula_cells_are_text() -> None:
    assert rows('phone,firstName\n"=1+1","@x"\n') == [(2, {"phone": "=1+1", "firstName": "@x"})]


def test_paths_spooled_uploads_and_open_files_are_taken_and_strangers_files_stay_open(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text(GOOD)
    with open_rows(path) as table:
        assert list(table) == READ
    with path.open("rb") as file:
        with open_rows(file, "x.csv") as table:
            assert list(table) == READ
        assert not file.closed
    with tempfile.SpooledTemporaryFile() as spool:
        spool.write(GOOD.encode())
        with open_rows(spool, "x.csv") as table:  # type: ignore[arg-type]
            assert list(table) == READ
    with pytest.raises(InvalidInput):
        open_rows(tmp_path / "missing.csv")


cells = st.text(
    alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\ufeff"), min_size=1, max_size=8
).filter(lambda text: text.strip() and not text.isspace())


@given(
    st.lists(st.tuples(cells, cells), min_size=1, max_size=8), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"])
)
def test_what_a_csv_writer_wrote_is_read_back_cell_by_cell(
    table: list[tuple[str, str]], delimiter: str, end: str
) -> None:
    out = io.StringIO(newline="")
    writer = stdlib_csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow(["phone", "firstName"])
    writer.writerows(table)
    found = rows(out.getvalue())
    assert [tuple(cells.values()) for _, cells in found] == table


@given(st.binary(max_size=300) | st.text(alphabet='ab,;"\n\r\t |=é\x00', max_size=60).map(str.encode))
def test_any_bytes_at_all_are_rows_or_a_refusal_naming_the_file(data: bytes) -> None:
    try:
        with open_rows(io.BytesIO(data), "x.csv") as table:
            for line, _ in table:
                assert line >= 1
    except InvalidInput as problem:
        assert problem.field == "file"


def test_a_large_file_is_read_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    line = b"9876543210,Asha,Patel,asha@example.com,female,1990-05-04,yes\n"
    path.write_bytes(b"phone,firstName,lastName,email,gender,birthDate,smsConsent\n" + line * 60_000)
    tracemalloc.start()
    try:
        with open_rows(path) as table:
            n = sum(1 for _ in table)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n == 60_000
    assert peak < 2_000_000


def test_refusing_a_line_without_end_is_quick() -> None:
    data = io.BytesIO(b"phone\n" + b"x" * 40_000_000)
    start = time.process_time()
    with pytest.raises(InvalidInput):
        open_rows(data, "x.csv")
    assert time.process_time() - start < 5
