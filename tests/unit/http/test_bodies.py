"""JSON bodies: strictly typed, only text and numbers a database can hold, never a 500."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.http.probe import serving, surface

from callboard.errors import InvalidInput
from callboard_adapters.http.body import check_json, is_json

JSON = {"content-type": "application/json"}
DEEP = 100_000

REFUSED: dict[str, bytes] = {
    "bad UTF-8 in a typed field": b'{"fullName":"\xff"}',
    "bad UTF-8 in an ignored field": b'{"fullName":"a","other":"\xff"}',
    "UTF-8 of a surrogate": b'{"fullName":"a","other":"\xed\xa0\x80"}',
    "overlong UTF-8": b'{"fullName":"a","other":"\xc0\x80"}',
    "truncated UTF-8": b'{"fullName":"a","other":"\xe2\x82"}',
    "BOM": b'\xef\xbb\xbf{"fullName":"a"}',
    "UTF-16": '{"fullName":"a"}'.encode("utf-16"),
    "UTF-32": '{"fullName":"a"}'.encode("utf-32"),
    "lone high surrogate": b'{"fullName":"\\ud800"}',
    "lone low surrogate": b'{"fullName":"\\udc00"}',
    "reversed surrogates": b'{"fullName":"\\udc00\\ud800"}',
    "lone surrogate in an ignored field": b'{"fullName":"a","other":"\\uD800x"}',
    "NUL escape": b'{"fullName":"a\\u0000"}',
    "NUL escape in an ignored field": b'{"fullName":"a","other":{"x":["\\u0000"]}}',
    "NUL escape in a key": b'{"fullName":"a","x":{"\\u0000":1}}',
    "NUL byte": b'{"fullName":"a\x00"}',
    "NUL byte behind": b'{"fullName":"a"}\x00',
    "NaN": b'{"fullName":"a","extra":NaN}',
    "Infinity": b'{"fullName":"a","extra":Infinity}',
    "1e999": b'{"fullName":"a","extra":1e999}',
    "1e999 in an ignored field": b'{"fullName":"a","other":1e999}',
    "-1E+400 in an ignored field": b'{"fullName":"a","other":-1E+400}',
    "5000 digits": b'{"fullName":"a","count":' + b"9" * 5000 + b"}",
    "5000 digits in an ignored field": b'{"fullName":"a","other":' + b"9" * 5000 + b"}",
    "2^63": b'{"fullName":"a","extra":9223372036854775808}',
    "2^63 in an ignored field": b'{"fullName":"a","other":9223372036854775808}',
    "2^70": b'{"fullName":"a","count":1180591620717411303424}',
    "-2^63-1": b'{"fullName":"a","extra":-9223372036854775809}',
    "deep lists": b'{"fullName":"a","extra":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep lists in an ignored field": b'{"fullName":"a","other":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"fullName":"a","extra":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "deep and open": b"[" * DEEP,
    "trailing comma": b'{"fullName":"a",}',
    "single quotes": b"{'fullName':'a'}",
    "comment": b'{"fullName":"a"} // no',
    "two values": b'{"fullName":"a"}{"fullName":"b"}',
    "text for a number": b'{"fullName":"a","count":"3"}',
    "number for a text": b'{"fullName":3}',
    "boolean for a number": b'{"fullName":"a","count":true}',
    "fraction for a number": b'{"fullName":"a","count":1.5}',
    "null for a text": b'{"fullName":null}',
    "missing field": b'{"count":1}',
    "wrong case of a key": b'{"fullname":"a"}',
    "snake_case key": b'{"full_name":"a"}',
    "empty text": b'{"fullName":""}',
    "too long": b'{"fullName":"abcdef"}',
    "array": b"[]",
    "string": b'"x"',
    "null": b"null",
    "empty": b"",
    "spaces": b"   ",
    "form": b"fullName=a",
    "gzip": b"\x1f\x8b\x08\x00",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_bad_body_is_400_and_the_next_request_works(name: str) -> None:
    async with serving(surface("store")) as client:
        answer = await client.post("/contacts", content=REFUSED[name], headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
        assert answer.json()["details"]["field"]
        assert (await client.get("/contacts")).status_code == 200


async def test_body_cut_off_anywhere_is_400() -> None:
    whole = b'{"fullName":"\\u00e9a","count":12,"extra":[1,{"a":null}]}'
    async with serving(surface("store")) as client:
        for end in range(len(whole)):
            assert (await client.post("/contacts", content=whole[:end], headers=JSON)).status_code == 400
        assert (await client.post("/contacts", content=whole, headers=JSON)).status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"count":1}', "fullName"),
        (b'{"fullName":"abcdef"}', "fullName"),
        (b'{"fullName":"a","count":"3"}', "count"),
        (b'{"fullName":"a","extra":{"deep":[1,"\\u0000"]}}', "extra.deep[1]"),
        (b'{"fullName":"a","extra":9223372036854775808}', "extra"),
    ],
)
async def test_refusal_names_the_field(body: bytes, field: str) -> None:
    async with serving(surface("store")) as client:
        assert (await client.post("/contacts", content=body, headers=JSON)).json()["details"]["field"] == field


@pytest.mark.parametrize("text", ["é", "👩‍👧", "\u202e", "\\u0000", "\\ud800", "{{x", "\U0010ffff", "a\nb", "<b>"])
async def test_odd_but_legal_text_comes_back_as_given(text: str) -> None:
    async with serving(surface("store")) as client:
        for ascii_only in (True, False):
            body = json.dumps({"fullName": "a", "extra": text}, ensure_ascii=ascii_only).encode()
            answer = await client.post("/contacts", content=body, headers=JSON)
            assert answer.json()["extra"] == text


@pytest.mark.parametrize("number", [0, -0.0, 2**63 - 1, -(2**63), 1e308, 1e-400, 123456789012345678])
async def test_numbers_inside_64_bit_are_taken(number: float) -> None:
    async with serving(surface("store")) as client:
        answer = await client.post("/contacts", json={"fullName": "a", "extra": number})
        assert answer.json()["extra"] == number


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonx",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json, text/plain",
        "image/png+json",
    ],
)
async def test_other_media_type_is_415(kind: str | None) -> None:
    async with serving(surface("store")) as client:
        headers = {} if kind is None else {"content-type": kind}
        answer = await client.post("/contacts", content=b'{"fullName":"a"}', headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_encoded_body_is_415() -> None:
    async with serving(surface("store")) as client:
        headers = {**JSON, "content-encoding": "gzip"}
        assert (await client.post("/contacts", content=b'{"fullName":"a"}', headers=headers)).status_code == 415


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON", "application/json; charset=UTF-8", "application/problem+json"]
)
def test_spellings_of_json(kind: str) -> None:
    assert is_json(kind)


async def test_body_cap_is_exact() -> None:
    async with serving(surface("store")) as client:
        fits = json.dumps({"fullName": "a", "extra": ""}).encode()
        room = 1024 * 1024 - len(fits)
        for extra, status in ((0, 201), (1, 413)):
            body = json.dumps({"fullName": "a", "extra": "x" * (room + extra)}).encode()
            answer = await client.post("/contacts", content=body, headers=JSON)
            assert (answer.status_code, answer.json().get("surface")) == (status, "store" if status == 413 else None)

        async def chunks() -> Any:
            for _ in range(40):
                yield b" " * 32_768

        assert (await client.post("/contacts", content=chunks(), headers=JSON)).status_code == 413


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def storable(value: object) -> bool:
    """What the check promises, said in the slow way."""
    match value:
        case str():
            return "\x00" not in value
        case bool() | None | float():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case list():
            return all(map(storable, value))
        case dict():
            return all(storable(part) for pair in value.items() for part in pair)
    raise AssertionError(value)


@given(json_values, st.booleans())
def test_check_agrees_with_its_promise(value: object, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    try:
        check_json(raw)
    except InvalidInput:
        surrogates = any("\ud800" <= character <= "\udfff" for character in json.dumps(value, ensure_ascii=False))
        assert surrogates or not storable(value)
    else:
        assert storable(value)
        assert msgspec.json.decode(raw) is not ...
