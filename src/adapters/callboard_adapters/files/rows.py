"""One way to open a table of any kind: headers, a count, and rows with their line numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from callboard.contacts.model import RowError
from callboard.contacts.rows import row_error
from callboard_adapters.files.csv import csv_records
from callboard_adapters.files.record import MAX_COLUMNS, Record, refused
from callboard_adapters.files.xlsx import xlsx_records

Row = tuple[int, Mapping[str, str | None] | RowError]
MAX_HEADER: Final = 200
_ZIP: Final = b"PK\x03\x04"
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


class Rows:
    """An open table. Iterating gives ``(line, cells by header)``, or a :class:`RowError` for a row that is broken.

    A short row has None for the cells it lacks; a row with more cells than the header is an error, as it cannot be
    known which cell belongs where. Blank rows are no rows. It can be iterated again; a context manager closes it.
    """

    def __init__(self, records: Callable[[], Iterator[Record]], close: Callable[[], object]) -> None:
        self._records = records
        self._close = close
        header = next(records(), None)
        if header is None or isinstance(header[1], RowError):
            raise refused("The file is empty" if header is None else "The header line is broken")
        self.headers = _headers(header[1])

    def __iter__(self) -> Iterator[Row]:
        headers, width = self.headers, len(self.headers)
        records = self._records()
        next(records)
        for line, cells in records:
            if isinstance(cells, RowError):
                yield line, cells
            elif len(cells) == width:
                yield line, dict(zip(headers, cells, strict=True))
            elif len(cells) < width:
                yield line, {**dict.fromkeys(headers), **dict(zip(headers, cells, strict=False))}
            elif any(cell.strip() for cell in cells[width:]):
                extra = next(cell for cell in cells[width:] if cell.strip())
                yield line, row_error(line, "row", extra, f"More cells than the header's {width} columns")
            else:
                yield line, dict(zip(headers, cells, strict=False))

    def count(self) -> int:
        """How many rows there are: one quick pass, for a progress bar."""
        return max(0, sum(1 for _ in self._records()) - 1)

    def close(self) -> None:
        """Let go of the file; one that was handed in stays open."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_rows(source: str | Path | BinaryIO, filename: str | None = None) -> Rows:
    """Open a CSV or XLSX table from a path or a seekable binary file; what it is, its first bytes say.

    Everything that makes the whole file unreadable is found here, before a row is handed out: :class:`InvalidInput`
    for ``file``. Refusing takes less than five seconds and little memory, however the file was made.
    """
    with ExitStack() as stack:
        file: BinaryIO
        if isinstance(source, str | Path):
            try:
                file = stack.enter_context(Path(source).open("rb"))
            except OSError as problem:
                raise refused(f"The file cannot be opened: {problem.strerror}") from None
            filename = filename or Path(source).name
        else:
            file = source
        file.seek(0)
        magic = file.read(8)
        if magic == _OLE:
            raise refused("An old .xls or a password-protected workbook: save it as .xlsx or CSV without a password")
        if magic.startswith(_ZIP):
            records = xlsx_records(file)
        elif (filename or "").lower().endswith((".xlsx", ".xlsm")):
            raise refused("This is not an Excel workbook, whatever its name says")
        else:
            records = csv_records(file)
        return Rows(records, stack.pop_all().close)


def _headers(cells: Sequence[str]) -> tuple[str, ...]:
    """Named columns keep their name, nameless ones get a number; two of one name are refused, as one would be lost."""
    if len(cells) > MAX_COLUMNS:
        raise refused(f"At most {MAX_COLUMNS} columns")
    named = [cell.strip().lstrip("\ufeff") for cell in cells]
    while named and not named[-1]:
        named.pop()
    seen: set[str] = set()
    for name in named:
        key = name.casefold()
        if name and key in seen:
            raise refused(f"Two columns are named {name[:40]!r}")
        if len(name) > MAX_HEADER:
            raise refused(f"A column name is longer than {MAX_HEADER} characters")
        seen.add(key)
    return tuple(name or f"column {number}" for number, name in enumerate(named, start=1))
