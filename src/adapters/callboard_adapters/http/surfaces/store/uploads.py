"""The two forms an import comes in: a file in a multipart form, or JSON; contracts/README.md section 4."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

import attrs
import msgspec
from litestar import Request
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from multipart import MultipartError, MultipartSegment, PushMultipartParser  # type: ignore[import-untyped]

from callboard.contacts.model import RowError
from callboard.contacts.rows import row_error
from callboard.contacts.service import RawRow
from callboard.errors import InvalidInput
from callboard_adapters.files import open_rows
from callboard_adapters.http.body import UnsupportedMediaType, decode_json, is_json

_IN_MEMORY = 1024 * 1024
_MOST_PARTS = 100
_MOST_JSON_ROWS = 100_000


class JsonImport(msgspec.Struct):
    """``{contacts:[{…}]}``; the keys of a row are the columns of a file."""

    contacts: list[dict[str, Any]]


_JSON = msgspec.json.Decoder(JsonImport)


@attrs.frozen(kw_only=True)
class Upload:
    """Rows as the import service takes them."""

    rows: Iterable[RawRow]
    headers: tuple[str, ...] | None


@asynccontextmanager
async def rows_of(request: Request[Any, Any, Any]) -> AsyncIterator[Upload]:
    """The rows of a request. 415 for any other media type, InvalidInput for ``file`` or a field of ``contacts``.

    Files are opened off the event loop; the import service reads them there too, so that an import starves nobody.
    """
    kind = request.headers.get("content-type", "")
    if is_json(kind):
        body = await request.body()
        data = await asyncio.to_thread(decode_json, body, _JSON)
        yield Upload(rows=_json_rows(data), headers=None)
    elif kind.partition(";")[0].strip().lower() == "multipart/form-data":
        with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            name = await _receive(request, file)
            table = await asyncio.to_thread(open_rows, cast("BinaryIO", file), name)
            try:
                yield Upload(rows=table, headers=tuple(table.headers))
            finally:
                table.close()
    else:
        raise UnsupportedMediaType("Send multipart/form-data with a field file, or application/json")


async def _receive(request: Request[Any, Any, Any], file: SpooledTemporaryFile[bytes]) -> str:
    """Write the form's one part ``file`` into ``file`` as it arrives and return its name; other fields are dropped."""
    boundary = request.content_type[1].get("boundary", "")
    names: list[str] = []
    wanted = False
    try:
        with PushMultipartParser(boundary.encode(), max_segment_count=_MOST_PARTS) as parser:
            async for chunk in request.stream():
                for part in parser.parse(chunk) if not parser.closed else ():
                    if isinstance(part, MultipartSegment):
                        wanted = part.name == "file" and bool(part.filename)
                        if wanted:
                            names.append(part.filename or "")
                    elif part and wanted and len(names) == 1:
                        file.write(part)
    except (MultipartError, UnicodeError, ValueError):
        raise InvalidInput("Not a readable multipart form", field="file") from None
    if len(names) != 1:
        raise InvalidInput("Exactly one file in the field file is required", field="file")
    return names[0]


def _json_rows(data: JsonImport) -> Iterator[RawRow]:
    if len(data.contacts) > _MOST_JSON_ROWS:
        raise InvalidInput(f"At most {_MOST_JSON_ROWS:,} contacts in JSON: send a file", field="contacts")
    for number, cells in enumerate(data.contacts, start=1):
        yield number, _cells(number, cells)


def _cells(number: int, given: Mapping[str, Any]) -> Mapping[str, str | None] | RowError:
    """A row's values as a file would hold them; objects and nested lists are none."""
    cells: dict[str, str | None] = {}
    for key, value in given.items():
        match value:
            case None | str():
                cells[key] = value
            case bool():
                cells[key] = "true" if value else "false"
            case int() | float():
                cells[key] = str(value)
            case list() if all(isinstance(item, str) for item in value):
                cells[key] = ", ".join(cast("list[str]", value))
            case _:
                return row_error(number, key[:64], "", "Must be a text, a number or a list of texts")
    return cells


@dataclass
class ImportOperation(Operation):
    """The OpenAPI operation of the import, whose body the handler reads by itself."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING)
        file = Schema(
            type=OpenAPIType.OBJECT,
            required=["file"],
            properties={
                "file": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, description="CSV or XLSX")
            },
        )
        row = Schema(
            type=OpenAPIType.OBJECT,
            properties=dict.fromkeys(
                ("phoneE164", "firstName", "lastName", "email", "gender", "birthDate", "smsConsent"), text
            ),
        )
        contacts = Schema(
            type=OpenAPIType.OBJECT,
            required=["contacts"],
            properties={"contacts": Schema(type=OpenAPIType.ARRAY, items=row)},
        )
        self.request_body = RequestBody(
            required=True,
            content={
                "multipart/form-data": OpenAPIMediaType(schema=file),
                "application/json": OpenAPIMediaType(schema=contacts),
            },
        )
