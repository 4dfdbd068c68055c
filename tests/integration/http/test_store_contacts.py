"""Contacts, imports and custom segments over HTTP."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import openpyxl
import pytest
from tests.integration.http.shop import World

from callboard.contacts.model import Consent


def upload(content: bytes, name: str = "people.csv", field: str = "file") -> dict[str, Any]:
    return {"files": {field: (name, content, "application/octet-stream")}}


def xlsx(rows: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


async def test_create_read_update_delete(shops: World) -> None:
    body = {
        "phone": "98123 45678",
        "firstName": "Ann",
        "lastName": "Lee",
        "email": "ann@example.com",
        "gender": "female",
        "birthDate": "1990-01-31",
        "smsConsent": "opted_in",
        "tags": ["vip", "b"],
    }
    made = await shops.data("POST", "/contacts", status=201, json=body)
    assert made["phoneE164"] == made["phone"] == "+919812345678"
    assert {key: made[key] for key in body if key not in {"phone", "tags"}} == {
        key: body[key] for key in body if key not in {"phone", "tags"}
    }
    assert (made["tags"], made["isSubscribed"]) == (["b", "vip"], True)
    path = f"/contacts/{made['id']}"
    assert await shops.data("GET", path) == made
    changed = await shops.data("PUT", path, json={"lastName": "", "birthDate": "", "gender": "unknown", "tags": []})
    assert (changed["lastName"], changed["birthDate"], changed["gender"], changed["tags"]) == (None, None, None, [])
    assert (changed["firstName"], changed["email"]) == ("Ann", "ann@example.com")
    assert (await shops.data("PATCH", path, json={"smsConsent": "opted_out"}))["isSubscribed"] is False
    twice = await shops.call("POST", "/contacts", json={"phoneE164": "+91 98123-45678"})
    assert (twice.status_code, twice.json()["code"]) == (409, "ALREADY_EXISTS")
    assert await shops.data("DELETE", path) == {"id": made["id"], "deleted": True}
    assert (await shops.call("GET", path)).status_code == 404
    assert (await shops.call("DELETE", path)).status_code == 404


@pytest.mark.parametrize(
    "query", ["search=9812", "q=9812", "search=ann%40ex", "q=lee", "search=Ann", "search=%2B919812345678"]
)
async def test_search_by_phone_email_and_name(shops: World, query: str) -> None:
    await shops.mine.contact("+919812345678", first_name="Ann", last_name="Lee", email="ann@example.com")
    await shops.mine.contact("+919700000000", first_name="Bob")
    found = (await shops.data("GET", f"/contacts?{query}"))["contacts"]
    assert [contact["firstName"] for contact in found] == ["Ann"]


@pytest.mark.parametrize(
    "query", ["search=%25", "search=_", "search='%20OR%201=1", "search=%5C", "search=" + "x" * 200]
)
async def test_search_takes_odd_text_literally(shops: World, query: str) -> None:
    await shops.mine.contact("+919812345678", first_name="Ann")
    assert (await shops.data("GET", f"/contacts?{query}"))["total"] == 0


async def test_import_counts_every_row_once(shops: World) -> None:
    await shops.mine.contact("+919812345670", consent=Consent.OPTED_OUT, first_name="Old")
    csv = (
        "Phone,First Name,smsConsent\n"
        "9812345670,New,opted_in\n"  # never opts in again
        "9812345671,B,opted_in\n"
        "9812345671,C,opted_in\n"  # the first one wins
        "12,D,opted_in\n"
        "9812345672,,maybe\n"
    )
    report = await shops.data("POST", "/contacts/import", **upload(csv.encode()))
    assert (report["created"], report["updated"], report["skipped"], report["invalid"]) == (1, 1, 1, 2)
    assert report["total"] == 5
    assert report["imported"] == 2
    assert [(error["row"], error["field"]) for error in report["errors"]] == [
        (4, "phone"),
        (5, "Phone"),
        (6, "smsConsent"),
    ]
    contacts = {row["phone"]: row for row in (await shops.data("GET", "/contacts"))["contacts"]}
    assert (contacts["+919812345670"]["firstName"], contacts["+919812345670"]["smsConsent"]) == ("New", "opted_out")
    assert contacts["+919812345671"]["firstName"] == "B"


async def test_dry_run_counts_the_same_and_writes_nothing(shops: World) -> None:
    csv = b"phone\n9812345671\n9812345672\nx\n"
    dry = await shops.data("POST", "/contacts/import?dryRun=true", **upload(csv))
    assert (await shops.data("GET", "/contacts"))["total"] == 0
    wet = await shops.data("POST", "/contacts/import", **upload(csv))
    assert dry | {"dryRun": False} == wet


async def test_import_of_xlsx(shops: World) -> None:
    content = xlsx([["phone", "firstName"], ["9812345671", "A"], [9812345672, "B"]])
    report = await shops.data("POST", "/contacts/import", **upload(content, "people.xlsx"))
    assert (report["created"], report["invalid"]) == (2, 0)


async def test_import_of_json(shops: World) -> None:
    rows = [
        {"phone": "9812345671", "firstName": "A", "smsConsent": True, "tags": ["x", "y"]},
        {"phoneE164": 9812345672, "email": None},
        {"phone": "9812345673", "firstName": {"a": 1}},
        {"firstName": "nobody"},
    ]
    report = await shops.data("POST", "/contacts/import", json={"contacts": rows})
    assert (report["created"], report["invalid"], report["total"]) == (2, 2, 4)
    assert [error["row"] for error in report["errors"]] == [3, 4]
    first = (await shops.data("GET", "/contacts?search=9812345671"))["contacts"][0]
    assert (first["tags"], first["smsConsent"]) == (["x", "y"], "opted_in")


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
        archive.writestr("xl/workbook.xml", "<x/>")
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * (200 * 1024 * 1024))
    return out.getvalue()


async def test_unreadable_files_are_400_and_change_nothing(shops: World) -> None:
    files = {
        "empty": b"",
        "no phone column": b"name,mail\na,b\n",
        "NUL": b"phone\n98\x0012345678\n",
        "open quote": b'phone,name\n9812345671,"a\n9812345672,b\n',
        "zip of nothing": b"PK\x05\x06" + b"\x00" * 18,
        "zip that ends early": b"PK\x03\x04rubbish",
        "old excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 512,
        "bomb": bomb(),
    }
    for name, content in files.items():
        answer = await shops.call("POST", "/contacts/import", **upload(content))
        assert answer.status_code == 400, (name, answer.text)
        assert answer.json()["details"]["field"] == "file", name
    assert (await shops.data("GET", "/contacts"))["total"] == 0


async def test_unreadable_forms_are_400(shops: World) -> None:
    good = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nphone\n9812345678\n\r\n--x--\r\n'
    )
    forms = {
        "no boundary": (b"x", "multipart/form-data"),
        "other boundary": (good, "multipart/form-data; boundary=y"),
        "cut": (good[:60], "multipart/form-data; boundary=x"),
        "cut in the file": (good[:-9], "multipart/form-data; boundary=x"),
        "empty": (b"", "multipart/form-data; boundary=x"),
        "no file": (good.replace(b'"file"', b'"data"'), "multipart/form-data; boundary=x"),
        "field instead of file": (
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nphone\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        "two files": (good[:-7] + good, "multipart/form-data; boundary=x"),
        "bad headers": (b"--x\r\n\xff\xfe\r\n\r\nphone\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        "many parts": (
            b"".join(b'--x\r\nContent-Disposition: form-data; name="p%d"\r\n\r\n1\r\n' % n for n in range(2_000))
            + b"--x--\r\n",
            "multipart/form-data; boundary=x",
        ),
    }
    for name, (body, kind) in forms.items():
        answer = await shops.call("POST", "/contacts/import", content=body, headers={"content-type": kind})
        assert answer.status_code in {400, 413}, (name, answer.text)
        assert answer.json()["success"] is False
    for kind in ("text/csv", "application/octet-stream", ""):
        answer = await shops.call("POST", "/contacts/import", content=b"phone\n", headers={"content-type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert (await shops.data("GET", "/contacts"))["total"] == 0


async def test_upload_cap_is_fifty_megabytes(shops: World) -> None:
    async def chunks() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nphone\n'
        for _ in range(51):
            yield b"9812345678\n" * 95_326
        yield b"\r\n--x--\r\n"

    answer = await shops.call(
        "POST", "/contacts/import", content=chunks(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_custom_segment_by_rule_is_what_a_campaign_sends(shops: World) -> None:
    await shops.data(
        "POST", "/contacts", status=201, json={"phone": "9812345671", "tags": ["vip"], "smsConsent": "opted_in"}
    )
    await shops.data("POST", "/contacts", status=201, json={"phone": "9812345672", "tags": ["vip"]})
    await shops.data("POST", "/contacts", status=201, json={"phone": "9812345673", "smsConsent": "opted_in"})
    criteria = {"all": [{"tags": ["vip"]}, {"not": [{"gender": "male"}]}]}
    segment = await shops.data("POST", "/audiences/segments", status=201, json={"name": "VIP", "criteria": criteria})
    assert (segment["type"], segment["estimatedCount"]) == ("custom", 1)
    assert segment["criteria"] == segment["criteriaJson"]
    path = f"/audiences/segments/{segment['id']}"
    assert await shops.data("GET", path) == segment
    assert (await shops.data("GET", f"{path}/preview"))["estimatedCount"] == 1
    assert (await shops.data("GET", f"{path}/members"))["total"] == 2
    campaign = await shops.campaign(audience={"type": "segment", "segmentId": segment["id"]})
    assert (await shops.data("POST", f"/campaigns/{campaign['id']}/enqueue"))["queuedRecipients"] == 1
    changed = await shops.data("PUT", path, json={"name": "All VIP", "criteria": {"gender": None}, "isActive": False})
    assert (changed["name"], changed["criteria"], changed["isActive"]) == ("All VIP", {"gender": None}, False)
    listed = (await shops.data("GET", "/audiences/segments"))["segments"]
    assert [row["name"] for row in listed][-1] == "All VIP"
    assert await shops.data("DELETE", path) == {"id": segment["id"], "deleted": True}
    assert (await shops.call("GET", path)).status_code == 404


async def test_custom_segment_by_list(shops: World) -> None:
    contacts = [str(contact.id) for contact in await shops.mine.contacts(3)]
    segment = await shops.data(
        "POST", "/audiences/segments", status=201, json={"name": "L", "contactIds": contacts[:1]}
    )
    path = f"/audiences/segments/{segment['id']}"
    added = await shops.data("POST", f"{path}/members", json={"contactIds": contacts})
    assert (added["added"], added["removed"]) == (2, 0)
    members = await shops.data("GET", f"{path}/members?pageSize=2")
    assert (members["total"], len(members["contacts"]), members["pagination"]["hasNextPage"]) == (3, 2, True)
    removed = await shops.data("DELETE", f"{path}/members", json={"contactIds": contacts[:2]})
    assert removed["removed"] == 2
    assert (await shops.data("GET", path))["estimatedCount"] == 1


async def test_system_segments_cannot_be_changed(shops: World) -> None:
    system = (await shops.data("GET", "/audiences/segments"))["segments"][0]
    path = f"/audiences/segments/{system['id']}"
    for method, body in (("PUT", {"name": "X"}), ("DELETE", {})):
        answer = await shops.call(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
