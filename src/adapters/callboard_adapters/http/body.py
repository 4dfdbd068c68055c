"""Reading JSON bodies strictly: the right type, the right media type, and only text and numbers a database can hold."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec
from litestar.dto import AbstractDTO
from litestar.exceptions import ValidationException
from litestar.typing import FieldDefinition

from callboard.errors import CoreError, InvalidInput

_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|[0-9]{19}|[eE]\+?[0-9]{3}|[\x80-\xff]")
"""What needs a second look: NUL and surrogate escapes, long digits, large exponents, bytes outside ASCII."""
_MIN, _MAX = -(2**63), 2**63 - 1


class UnsupportedMediaType(CoreError):
    """The body is not announced as what this endpoint reads."""

    code = "UNSUPPORTED_MEDIA_TYPE"


def check_json(raw: bytes) -> None:
    """Refuse what a typed decoder may overlook in fields it ignores: bad UTF-8, NUL, surrogates, numbers beyond 64 bit.

    One scan of the bytes; only bodies with something suspect in them are decoded a second time. Raises
    :class:`InvalidInput` naming the field where it can.
    """
    if not _SUSPECT.search(raw):
        return
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise InvalidInput("Not valid UTF-8", field="body") from None
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeError):
        raise InvalidInput("Not valid JSON, or a number or character out of range", field="body") from None
    except RecursionError:
        raise InvalidInput("Nested too deeply", field="body") from None
    _walk(value)


def _walk(value: object) -> None:
    stack: list[tuple[str, object]] = [("", value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, str):
            if "\x00" in item:
                raise InvalidInput("NUL characters are not allowed", field=path or "body")
        elif isinstance(item, int):
            if not _MIN <= item <= _MAX:
                raise InvalidInput("Integers are limited to 64 bit", field=path or "body")
        elif isinstance(item, dict):
            for key, inner in item.items():
                if "\x00" in key:
                    raise InvalidInput("NUL characters are not allowed", field=path or "body")
                stack.append((f"{path}.{key}" if path else key, inner))
        elif isinstance(item, list):
            stack.extend((f"{path}[{index}]", inner) for index, inner in enumerate(item))


def decode_json(raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """The body as the decoder's type; a 400 that names the field otherwise."""
    check_json(raw)
    try:
        return decoder.decode(raw)
    except msgspec.MsgspecError as error:
        text, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".")
        if not field and text.startswith("Object missing required field `"):
            field = text.split("`")[1]
        elif "missing required field `" in text:
            field = f"{field}.{text.split('`')[1]}"
        raise ValidationException(extra=[{"field": field or "body", "reason": text}]) from None
    except UnicodeError:
        raise ValidationException(extra=[{"field": "body", "reason": "Not valid UTF-8"}]) from None
    except RecursionError:
        raise ValidationException(extra=[{"field": "body", "reason": "Nested too deeply"}]) from None


def is_json(content_type: str) -> bool:
    """``application/json`` or ``application/…+json``; a charset other than UTF-8 is not JSON."""
    media, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        return False
    charset = next((p.partition("=")[2].strip('"') for p in parameters if p.startswith("charset=")), "utf-8")
    return charset in {"utf-8", "utf8"}


class StrictJSON(AbstractDTO[Any]):
    """Bodies decode strictly into the annotated type: ``"3"`` is not 3, a wrong media type is 415.

    Hung on a router as ``dto=StrictJSON, return_dto=None``; answers are encoded by Litestar from the wire types.
    """

    _decoders: ClassVar[dict[str, msgspec.json.Decoder[Any]]] = {}

    @classmethod
    def is_supported_model_type_field(cls, field_definition: FieldDefinition) -> bool:  # noqa: ARG003
        return True

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Any:  # noqa: ARG003
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:  # noqa: ARG003
        return False

    @classmethod
    def create_for_field_definition(
        cls,
        field_definition: FieldDefinition,
        handler_id: str,
        backend_cls: Any = None,  # noqa: ARG003
    ) -> None:
        cls._decoders[handler_id] = msgspec.json.Decoder(field_definition.annotation, strict=True)

    @classmethod
    def create_openapi_schema(
        cls,
        field_definition: FieldDefinition,
        handler_id: str,  # noqa: ARG003
        schema_creator: Any,
    ) -> Any:
        return schema_creator.for_field_definition(field_definition)

    def decode_bytes(self, value: bytes) -> Any:
        connection = self.asgi_connection
        if connection.headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
            raise UnsupportedMediaType("Encoded bodies are not read here")
        if not is_json(connection.headers.get("content-type", "")):
            raise UnsupportedMediaType("The body must be application/json")
        return decode_json(value, self._decoders[connection.route_handler.handler_id])


__all__ = ["StrictJSON", "UnsupportedMediaType", "check_json", "decode_json", "is_json"]
