"""XLSX with calamine, after a look at the archive: calamine holds the sheet in memory and trusts what it is given."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from typing import BinaryIO, Final

import python_calamine

from callboard_adapters.files.record import MAX_COLUMNS, Record, refused

MAX_ENTRIES: Final = 2_000
MAX_DIRECTORY: Final = 1_048_576
MAX_EXPANDED: Final = 128 * 1_048_576
MAX_STRINGS: Final = 32 * 1_048_576
MAX_STRING_COUNT: Final = 1_000_000
MAX_CELLS: Final = 2_000_000
"""A cell costs calamine about 30 bytes, the empty ones of the grid between the corners included."""
MAX_TEXT: Final = 64 * 1_048_576
"""Bytes of text in all cells: one long shared string may stand in every one of them, and is copied each time."""

_STEP: Final = 262_144
_MAX_CARRY: Final = 1_048_576
_END: Final = struct.Struct("<4s4H2LH")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_STRINGS: Final = "xl/sharedstrings.xml"
_TOO_LARGE: Final = "This workbook is too large: save the sheet as CSV"
_NO_WORKBOOK: Final = "This is not an Excel workbook (.xlsx)"


def xlsx_records(file: BinaryIO) -> Callable[[], Iterator[Record]]:
    """The records of the first visible sheet. InvalidInput for ``file``, before anything is parsed, for an archive that
    is broken, encrypted, no workbook, or larger inside than a table of two million cells needs.
    """
    _inspect(file)
    file.seek(0)
    sheet = _load(file)

    def records() -> Iterator[Record]:
        for line, cells in enumerate(sheet.iter_rows(), start=1):
            texts = [_text(cell) for cell in cells]
            while texts and not texts[-1]:
                texts.pop()
            if texts:
                yield line, texts

    return records


def _load(file: BinaryIO) -> python_calamine.CalamineSheet:
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(file)
        for sheet in book.sheets_metadata:
            if (
                sheet.typ == python_calamine.SheetTypeEnum.WorkSheet
                and sheet.visible == python_calamine.SheetVisibleEnum.Visible
            ):
                return book.get_sheet_by_name(sheet.name)
    except Exception:  # noqa: BLE001 - whatever a parser says of a stranger's file, the answer is the same
        raise refused(_NO_WORKBOOK) from None
    except BaseException as panic:
        if type(panic).__name__ == "PanicException":  # how a Rust panic arrives: not an Exception
            raise refused(_NO_WORKBOOK) from None
        raise
    raise refused("The workbook has no visible sheet")


def _text(cell: object) -> str:
    """A cell as it would stand in a CSV: whole numbers without ``.0``, dates in ISO form."""
    match cell:
        case str():
            return cell
        case bool():
            return "true" if cell else "false"
        case float() if cell.is_integer() and abs(cell) < 1e15:
            return str(int(cell))
        case datetime() if cell.time() == time.min:
            return cell.date().isoformat()
        case datetime() | date() | time():
            return cell.isoformat()
        case timedelta():
            return str(cell)
        case None:
            return ""
    return str(cell)


# --- looking before parsing ---------------------------------------------------------------------------------------


def _inspect(file: BinaryIO) -> None:
    """Count entries, then expand each one we would read, in small steps and with a limit, believing no stated size."""
    _check_directory(file)
    try:
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        raise refused(_NO_WORKBOOK) from None
    names = {entry.filename.lower() for entry in entries}
    if len(entries) > MAX_ENTRIES or len(names) != len(entries):
        raise refused(_NO_WORKBOOK)
    if "[content_types].xml" not in names or "xl/workbook.xml" not in names:
        raise refused(_NO_WORKBOOK)
    if any(entry.flag_bits & 0x1 for entry in entries):
        raise refused("The workbook is password-protected: save it without a password")
    if sum(entry.file_size for entry in entries) > MAX_EXPANDED:
        raise refused(_TOO_LARGE)
    left = MAX_EXPANDED
    grid = Grid()
    # Any entry may be a sheet: a workbook names its parts freely. The strings come first, cells are measured with them.
    for entry in sorted(entries, key=lambda entry: entry.filename.lower() != _STRINGS):
        if entry.filename.lower() == _STRINGS:
            left -= _walk(file, entry, MAX_STRINGS, grid.strings)
        else:
            grid.next_part()
            left -= _walk(file, entry, left, grid.cells)


def _check_directory(file: BinaryIO) -> None:
    """Refuse a directory that would itself take much memory to read: entries are counted from the end record."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 65_557))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise refused(_NO_WORKBOOK)
    _, _, _, _, entries, length, offset, _ = _unpack_end(tail[at : at + _END.size])
    if entries > MAX_ENTRIES or length > MAX_DIRECTORY or offset + length > size:
        raise refused(_TOO_LARGE if entries > MAX_ENTRIES else _NO_WORKBOOK)


def _unpack_end(record: bytes) -> tuple[bytes, int, int, int, int, int, int, int]:
    signature, disk, first, here, entries, length, offset, comment = _END.unpack(record)
    return signature, disk, first, here, entries, length, offset, comment


def _walk(file: BinaryIO, entry: zipfile.ZipInfo, limit: int, look: Callable[[bytes], None]) -> int:
    """Expand one entry piece by piece, show each to ``look`` cut before a tag, and return the true size."""
    file.seek(entry.header_offset)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
        raise refused(_NO_WORKBOOK)
    *_, name_length, extra_length = _LOCAL.unpack(head)
    file.seek(name_length + extra_length, 1)
    size, carry = 0, b""
    for piece in _expand(file, entry):
        if not size and piece.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16, in which no tag would be found
            raise refused(_NO_WORKBOOK)
        size += len(piece)
        if size > limit:
            raise refused(_TOO_LARGE)
        window = carry + piece
        cut = max(window.rfind(b"<"), 0)
        look(window[:cut])
        carry = window[cut:]
        if len(carry) > _MAX_CARRY:
            if b"<" in carry:
                raise refused(_TOO_LARGE)
            carry = b""
    look(carry)
    if size != entry.file_size:
        raise refused(_NO_WORKBOOK)
    return size


def _expand(file: BinaryIO, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    left = entry.compress_size
    if entry.compress_type == zipfile.ZIP_STORED:
        while left > 0 and (piece := file.read(min(_STEP, left))):
            left -= len(piece)
            yield piece
        return
    if entry.compress_type != zipfile.ZIP_DEFLATED:
        raise refused(_NO_WORKBOOK)
    inflate = zlib.decompressobj(-15)
    try:
        while left > 0 and not inflate.eof:
            packed = file.read(min(_STEP, left))
            if not packed:
                break
            left -= len(packed)
            while packed and not inflate.eof:
                yield inflate.decompress(packed, _STEP)
                packed = inflate.unconsumed_tail
        if not inflate.eof:
            yield inflate.flush()
    except zlib.error:
        raise refused(_NO_WORKBOOK) from None


_NAME: Final = rb"<(?:[A-Za-z_][A-Za-z0-9_.-]*:)?"
_ATTRIBUTES: Final = rb"(?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*"
_DOCTYPE: Final = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_STRING: Final = re.compile(_NAME + rb"si[\s/>]")
_TAG: Final = re.compile(_NAME + rb"(c|row)[\s/>]")
_CELL_AT: Final = re.compile(_NAME + rb"c r=\"([A-Z]{1,3})([0-9]{1,7})\"[\s/>]")
_ROW_AT: Final = re.compile(_NAME + rb"row r=\"([0-9]{1,7})\"[\s/>]")
_OTHER_CELL: Final = re.compile(_NAME + rb"c(?:\s(" + _ATTRIBUTES + rb"))?/?>")
_OTHER_ROW: Final = re.compile(_NAME + rb"row(?:\s(" + _ATTRIBUTES + rb"))?/?>")
_REFERENCE: Final = re.compile(rb"(?:^|[\s\"'])r\s*=\s*[\"']([^\"']*)[\"']")
_PLACE: Final = re.compile(rb"([A-Z]{1,3})?([0-9]{1,7})")
_VALUE: Final = re.compile(_NAME + rb"v[\s/>]")
_INDEX: Final = re.compile(_NAME + rb"v>([0-9]{1,7})</")


class Grid:
    """How much a workbook will cost once parsed: the grid its cells span, and the text in them."""

    def __init__(self) -> None:
        self._lengths = array("L")
        self._longest = 0
        self.next_part()

    def next_part(self) -> None:
        """Another part of the archive begins: it is measured by itself."""
        self._rows = self._columns = self._count = self._text = 0
        self._loose_rows = self._loose_cells = self._run = 0

    def strings(self, xml: bytes) -> None:
        """A piece of the shared strings: their lengths in bytes, tags and all."""
        self._refuse_types(xml)
        last = None
        for tag in _STRING.finditer(xml):
            self._add(tag.start() if last is None else tag.start() - last)
            self._lengths.append(0)
            last = tag.start()
        self._add(len(xml) if last is None else len(xml) - last)
        if len(self._lengths) > MAX_STRING_COUNT:
            raise refused(_TOO_LARGE)

    def _add(self, size: int) -> None:
        if self._lengths:
            self._lengths[-1] += size
            self._longest = max(self._longest, self._lengths[-1])

    def cells(self, xml: bytes) -> None:
        """A piece of what may be a sheet."""
        self._refuse_types(xml)
        tags = _TAG.findall(xml)
        rows = tags.count(b"row")
        cells = len(tags) - rows
        self._count += cells
        if self._count > MAX_CELLS:
            raise refused(_TOO_LARGE)
        placed = _CELL_AT.findall(xml)
        if len(placed) == cells:
            self._place({letters for letters, _ in placed}, (digits for _, digits in placed))
            self._run = 0
        elif self._place_others(_OTHER_CELL, xml, cells):
            self._loose_cells = max(self._loose_cells, self._longest_row(tags))
        places = _ROW_AT.findall(xml)
        if len(places) == rows:
            self._place((), places)
        else:
            self._loose_rows += self._place_others(_OTHER_ROW, xml, rows)
        # Cells and rows that do not say where they are follow the one before.
        columns = self._columns + self._loose_cells
        if columns > MAX_COLUMNS:
            raise refused(f"At most {MAX_COLUMNS} columns")
        if (self._rows + self._loose_rows) * columns > MAX_CELLS:
            raise refused(_TOO_LARGE)
        self._measure(xml)

    def _place(self, letters: Iterable[bytes], digits: Iterable[bytes]) -> None:
        self._columns = max(self._columns, max(map(_number, letters), default=0))
        self._rows = max(self._rows, max(map(int, digits), default=0))

    def _place_others(self, tags: re.Pattern[bytes], xml: bytes, total: int) -> int:
        """Tags in an unusual order or spelling, one by one; returns how many do not say where they are."""
        attributes = tags.findall(xml)
        if len(attributes) != total:
            raise refused(_NO_WORKBOOK)
        described = [text for text in attributes if text]
        loose = len(attributes) - len(described)
        for text in described:
            reference = _REFERENCE.search(text)
            if reference is None:
                loose += 1
            elif place := _PLACE.fullmatch(reference[1]):
                self._place((place[1],) if place[1] else (), (place[2],))
            else:
                raise refused(_NO_WORKBOOK)
        return loose

    def _longest_row(self, tags: list[bytes]) -> int:
        """Cells of the longest row, for those that do not say where they are; a row may go on in the next piece."""
        runs = b"".join(tags).replace(b"row", b"|").split(b"|")
        first = self._run + len(runs[0])
        self._run = first if len(runs) == 1 else len(runs[-1])
        return max(first, *map(len, runs))

    def _measure(self, xml: bytes) -> None:
        """Add up the text that shared strings put into these cells; a value we cannot read counts as the longest."""
        if self._longest * self._count <= MAX_TEXT:
            return
        indexes = _INDEX.findall(xml)
        lengths, known = self._lengths, len(self._lengths)
        self._text += sum(lengths[index] for index in map(int, indexes) if index < known)
        self._text += (len(_VALUE.findall(xml)) - len(indexes)) * self._longest
        if self._text > MAX_TEXT:
            raise refused(_TOO_LARGE)

    @staticmethod
    def _refuse_types(xml: bytes) -> None:
        if _DOCTYPE.search(xml):
            raise refused(_NO_WORKBOOK)


def _number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number
