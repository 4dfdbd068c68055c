"""CSV in the spellings that programs and countries write, streamed in bounded memory."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from callboard.contacts.rows import row_error
from callboard_adapters.files.record import MAX_COLUMNS, Record, refused

MAX_LINE: Final = 1_048_576
MAX_FIELD: Final = 131_072  # what the csv module takes by default; its limit is global, so it is not ours to move
_CHUNK: Final = 65_536
_DELIMITERS: Final = ",;\t|"
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, ""),  # before UTF-16: it starts with the same two bytes
    (codecs.BOM_UTF32_BE, ""),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def csv_records(file: BinaryIO) -> Callable[[], Iterator[Record]]:
    """Check the whole file once (encoding, NUL, line length, quotes), then hand out a way to read its records.

    Raises InvalidInput for ``file``. Lines count from 1 as an editor shows them; a record has the line it starts on.
    """
    encoding = _encoding(file)
    delimiter, skip = _dialect(file, encoding)

    def records() -> Iterator[Record]:
        return _read(file, encoding, delimiter, skip)

    for _ in records():  # a quote that is never closed swallows everything after it: say so before a row is taken
        pass
    return records


def _encoding(file: BinaryIO) -> str:
    """The first of BOM, UTF-8, Windows-1252 and Latin-1 that can read every byte of the file."""
    file.seek(0)
    start = file.read(4)
    for bom, encoding in _BOMS:
        if start.startswith(bom):
            if not encoding or not _decodes(file, encoding):
                raise refused("The text is broken or in UTF-32: save the file as UTF-8")
            return encoding
    return next(encoding for encoding in ("utf-8", "cp1252", "latin-1") if _decodes(file, encoding))


def _decodes(file: BinaryIO, encoding: str) -> bool:
    """Whether the file reads in this encoding; refuses NUL and endless lines on the way."""
    decoder = codecs.getincrementaldecoder(encoding)()
    file.seek(0)
    since_newline = 0
    try:
        while chunk := file.read(_CHUNK):
            text = decoder.decode(chunk)
            if "\x00" in text:
                raise refused("NUL characters: this is not a text file")
            newline = max(text.rfind("\n"), text.rfind("\r"))
            since_newline = since_newline + len(text) if newline < 0 else len(text) - newline
            if since_newline > MAX_LINE:
                raise refused(f"A line is longer than {MAX_LINE:,} characters")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _dialect(file: BinaryIO, encoding: str) -> tuple[str, int]:
    """The delimiter, and how many lines to skip: spreadsheets may say ``sep=;`` on the first line."""
    with _text(file, encoding) as text:
        for number, line in enumerate(text, start=1):
            bare = line.strip("\r\n\ufeff ")
            if number == 1 and bare.lower().startswith("sep=") and len(bare) == 5:
                return bare[4], 1
            if bare:
                return max(_DELIMITERS, key=lambda delimiter: _columns(bare, delimiter)), 0
    return ",", 0


def _columns(line: str, delimiter: str) -> int:
    """Into how many columns a header falls (the first delimiter wins a tie)."""
    try:
        return len(next(csv.reader([line], delimiter=delimiter)))
    except csv.Error:
        return 0


def _read(file: BinaryIO, encoding: str, delimiter: str, skip: int) -> Iterator[Record]:
    with _text(file, encoding) as text:
        for _ in range(skip):
            next(text)
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        line = skip + 1
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as problem:
                if "expected after" not in str(problem):  # an unclosed quote or a field without end
                    reason = f"A field is longer than {MAX_FIELD:,} characters"
                    if "end of data" in str(problem):
                        reason = "A quote is never closed"
                    raise refused(f"{reason} (it starts in line {line})") from None
                yield line, row_error(line, "row", "", "Text after a closing quote")
            else:
                if len(cells) > MAX_COLUMNS:
                    raise refused(f"Line {line} has more than {MAX_COLUMNS} columns")
                if any(cells) and any(cell and not cell.isspace() for cell in cells):
                    yield line, cells
            line = skip + reader.line_num + 1


@contextmanager
def _text(file: BinaryIO, encoding: str) -> Iterator[io.TextIOWrapper]:
    """The file as text from its start, with line ends as they are; leaving does not close the file."""
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=encoding, newline="")
    try:
        yield text
    finally:
        text.detach()
