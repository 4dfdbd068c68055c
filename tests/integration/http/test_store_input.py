"""Bad input as data: always a 4xx in the store's words, nothing changed, the next request works."""

from __future__ import annotations

from typing import Any

from tests.integration.http.routes import PRIVATE, fill, objects
from tests.integration.http.shop import World, in_days

JSON = {"content-type": "application/json"}
GOOD = {"name": "N", "message": "M", "audience": "all"}

CAMPAIGNS: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"message": "M", "audience": "all"}, "name"),
    "empty name": (GOOD | {"name": ""}, "name"),
    "blank name": (GOOD | {"name": "   "}, "name"),
    "long name": (GOOD | {"name": "x" * 201}, "name"),
    "name is a number": (GOOD | {"name": 7}, "name"),
    "name is null": (GOOD | {"name": None}, "name"),
    "name with NUL": (GOOD | {"name": "a\x00b"}, "name"),
    "empty message": (GOOD | {"message": ""}, "message"),
    "long message": (GOOD | {"message": "x" * 1601}, "message"),
    "no audience": ({"name": "N", "message": "M"}, "audience"),
    "null audience": (GOOD | {"audience": None}, "audience"),
    "audience everyone": (GOOD | {"audience": "everyone"}, "audience"),
    "audience ALL": (GOOD | {"audience": "ALL"}, "audience"),
    "audience MEN": (GOOD | {"audience": "MEN"}, "audience"),
    "audience with spaces": (GOOD | {"audience": " all "}, "audience"),
    "audience segment:": (GOOD | {"audience": "segment:"}, "audience"),
    "audience segment:x": (GOOD | {"audience": "segment:x"}, "audience"),
    "audience empty": (GOOD | {"audience": ""}, "audience"),
    "audience list": (GOOD | {"audience": ["all"]}, "audience"),
    "audience object": (GOOD | {"audience": {}}, "audience.type"),
    "audience object without id": (GOOD | {"audience": {"type": "segment"}}, "audience.segmentId"),
    "audience object with null id": (GOOD | {"audience": {"type": "segment", "segmentId": None}}, "audience.segmentId"),
    "audience object with bad id": (GOOD | {"audience": {"type": "segment", "segmentId": "segment123"}}, "audience"),
    "audience object of other type": (GOOD | {"audience": {"type": "custom", "segmentId": "x"}}, "audience.type"),
    "unknown schedule": (GOOD | {"scheduleType": "later"}, "scheduleType"),
    "scheduled without time": (GOOD | {"scheduleType": "scheduled"}, "scheduleAt"),
    "scheduled in the past": (GOOD | {"scheduleType": "scheduled", "scheduleAt": in_days(-1)}, "scheduleAt"),
    "scheduled in 50 years": (GOOD | {"scheduleType": "scheduled", "scheduleAt": in_days(18_250)}, "scheduleAt"),
    "no time zone": (GOOD | {"scheduleType": "scheduled", "scheduleAt": "2030-01-01T00:00:00"}, "scheduleAt"),
    "no date": (GOOD | {"scheduleType": "scheduled", "scheduleAt": "tomorrow"}, "scheduleAt"),
    "no such day": (GOOD | {"scheduleType": "scheduled", "scheduleAt": "2027-02-29T00:00:00Z"}, "scheduleAt"),
    "year 1": (GOOD | {"scheduleType": "scheduled", "scheduleAt": "0001-01-01T00:00:00+14:00"}, "scheduleAt"),
    "year 9999": (GOOD | {"scheduleType": "scheduled", "scheduleAt": "9999-12-31T23:59:59-14:00"}, "scheduleAt"),
    "time is a number": (GOOD | {"scheduleType": "scheduled", "scheduleAt": 1_900_000_000}, "scheduleAt"),
    "recurring without days": (GOOD | {"scheduleType": "recurring"}, "recurringDays"),
    "recurring 0": (GOOD | {"scheduleType": "recurring", "recurringDays": 0}, "recurringDays"),
    "recurring -1": (GOOD | {"scheduleType": "recurring", "recurringDays": -1}, "recurringDays"),
    "recurring 366": (GOOD | {"scheduleType": "recurring", "recurringDays": 366}, "recurringDays"),
    "recurring 10^9": (GOOD | {"scheduleType": "recurring", "recurringDays": 10**9}, "recurringDays"),
    "recurring text": (GOOD | {"scheduleType": "recurring", "recurringDays": "7"}, "recurringDays"),
    "recurring fraction": (GOOD | {"scheduleType": "recurring", "recurringDays": 1.5}, "recurringDays"),
    "unknown priority": (GOOD | {"priority": "asap"}, "priority"),
    "discount is a number": (GOOD | {"discountValue": 20}, "discountValue"),
    "long discount": (GOOD | {"discountValue": "x" * 101}, "discountValue"),
    "include is a text": (GOOD | {"includeDiscount": "yes"}, "includeDiscount"),
}


async def test_bad_campaign_is_400_by_field_on_create_and_update(shops: World) -> None:
    made = await shops.campaign("Stays", scheduleType="recurring", recurringDays=3)
    for name, (body, field) in CAMPAIGNS.items():
        answers = [await shops.call("POST", "/campaigns", json=body)]
        if field.split(".")[0] in body:
            answers.append(await shops.call("PUT", f"/campaigns/{made['id']}", json=body))
        for answer in answers:
            assert answer.status_code == 400, (name, answer.text)
            assert (answer.json()["error"], answer.json()["message"]) == ("validation_error", "Validation failed")
            assert answer.json()["details"]["field"] == field, name
        assert (await shops.call("GET", "/campaigns")).json()["data"] == [made], name


CONTACTS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "phoneE164"),
    "no phone": ({"firstName": "A"}, "phoneE164"),
    "empty phone": ({"phoneE164": ""}, "phoneE164"),
    "null phone": ({"phone": None}, "phone"),
    "letters": ({"phone": "98123abcde"}, "phone"),
    "nine digits": ({"phone": "981234567"}, "phone"),
    "eleven digits": ({"phone": "98123456789"}, "phone"),
    "twenty digits": ({"phone": "+91981234567890123456"}, "phone"),
    "twice +91": ({"phone": "+91+919812345678"}, "phone"),
    "full-width digits": ({"phone": "９８１２３４５６７８"}, "phone"),
    "arabic digits": ({"phone": "٩٨١٢٣٤٥٦٧٨"}, "phone"),
    "extension": ({"phone": "+14155552671 ext. 5"}, "phone"),
    "a number": ({"phone": 9812345678}, "phone"),
    "1e10": ({"phone": "1e10"}, "phone"),
    "long phone": ({"phone": "9" * 300}, "phone"),
    "bad consent": ({"phone": "9812345678", "smsConsent": "yes"}, "smsConsent"),
    "null consent": ({"phone": "9812345678", "smsConsent": None}, "smsConsent"),
    "bad gender": ({"phone": "9812345678", "gender": "Male"}, "gender"),
    "bad birth date": ({"phone": "9812345678", "birthDate": "31.01.1990"}, "birthDate"),
    "no such day": ({"phone": "9812345678", "birthDate": "2001-02-29"}, "birthDate"),
    "bad email": ({"phone": "9812345678", "email": "no"}, "email"),
    "long name": ({"phone": "9812345678", "firstName": "x" * 201}, "firstName"),
    "NUL in a name": ({"phone": "9812345678", "lastName": "a\x00"}, "lastName"),
    "tags text": ({"phone": "9812345678", "tags": "a,b"}, "tags"),
    "empty tag": ({"phone": "9812345678", "tags": [""]}, "tags[0]"),
    "too many tags": ({"phone": "9812345678", "tags": [str(n) for n in range(51)]}, "tags"),
}


async def test_bad_contact_is_400_by_field(shops: World) -> None:
    for name, (body, field) in CONTACTS.items():
        answer = await shops.call("POST", "/contacts", json=body)
        assert answer.status_code == 400, (name, answer.text)
        assert answer.json()["details"]["field"] == field, name
    assert (await shops.data("GET", "/contacts"))["total"] == 0


OTHERS: dict[str, tuple[str, str, Any, int]] = {
    "segment without rule or list": ("POST", "/audiences/segments", {"name": "S"}, 400),
    "segment with both": (
        "POST",
        "/audiences/segments",
        {"name": "S", "criteria": {"gender": "male"}, "contactIds": []},
        400,
    ),
    "segment with empty rule": ("POST", "/audiences/segments", {"name": "S", "criteria": {}}, 400),
    "segment with unknown rule": ("POST", "/audiences/segments", {"name": "S", "criteria": {"city": "X"}}, 400),
    "segment with odd age": ("POST", "/audiences/segments", {"name": "S", "criteria": {"age": {"gte": "18"}}}, 400),
    "segment with bad id": ("POST", "/audiences/segments", {"name": "S", "contactIds": ["x"]}, 400),
    "members without ids": ("POST", "/audiences/segments/{segment}/members", {"contactIds": []}, 400),
    "members with a text": ("POST", "/audiences/segments/{segment}/members", {"contactIds": "all"}, 400),
    "automation with unknown trigger": ("POST", "/automations", {"name": "A", "triggerType": "x", "message": "M"}, 400),
    "automation without trigger": ("POST", "/automations", {"name": "A", "message": "M"}, 400),
    "toggle that says nothing": ("PUT", "/automations/{automation}/status", {}, 400),
    "toggle with a text": ("PUT", "/automations/{automation}/status", {"isActive": "true"}, 400),
    "toggle with odd status": ("PUT", "/automations/{automation}/status", {"status": "on"}, 400),
    "settings list": ("PUT", "/settings", [], 400),
    "settings text": ("PUT", "/settings", "x", 400),
    "settings zone": ("PUT", "/settings", {"timezone": "Mars/Olympus"}, 400),
    "settings number": ("PUT", "/settings", {"frequencyCap": "many"}, 400),
    "settings huge number": ("PUT", "/settings", {"frequencyCap": 2**62}, 400),
    "settings object": ("PUT", "/settings", {"shopName": {"a": 1}}, 400),
    "event without type": ("POST", "/events", {"email": "a@b.example"}, 400),
    "event of unknown type": ("POST", "/events", {"type": "x", "email": "a@b.example"}, 400),
    "event about nobody": ("POST", "/events", {"type": "order_placed"}, 400),
    "event with bad phone": ("POST", "/events", {"type": "order_placed", "phone": "12"}, 400),
    "event with odd properties": (
        "POST",
        "/events",
        {"type": "order_placed", "phone": "9812345678", "properties": []},
        400,
    ),
    "event in year 1": (
        "POST",
        "/events",
        {"type": "order_placed", "phone": "9812345678", "occurredAt": "0001-01-01T00:00:00+14:00"},
        400,
    ),
    "schedule without time": ("PUT", "/campaigns/{campaign}/schedule", {}, 400),
    "schedule in the past": ("PUT", "/campaigns/{campaign}/schedule", {"scheduleAt": "2020-01-01T00:00:00Z"}, 400),
}


async def test_bad_body_elsewhere(shops: World) -> None:
    ids = await objects(shops, shops.mine)
    for name, (method, path, body, status) in OTHERS.items():
        answer = await shops.call(method, fill(path, ids), json=body)
        assert answer.status_code == status, (name, answer.text)
        assert answer.json()["details"]["field"], name


WORST = {
    "bad UTF-8": b'{"name":"\xff"}',
    "lone surrogate": b'{"name":"\\ud800"}',
    "NUL": b'{"name":"\\u0000","zz":1}',
    "NUL in an unknown field": b'{"zz":"\\u0000"}',
    "5000 digits": b'{"zz":' + b"9" * 5000 + b"}",
    "2^63": b'{"zz":9223372036854775808}',
    "deep": b'{"zz":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "1e999": b'{"zz":1e999}',
    "NaN": b'{"zz":NaN}',
    "cut": b'{"name":"x"',
    "array": b"[]",
    "number": b"1",
    "BOM": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
}


async def test_no_route_answers_500_to_a_body(shops: World) -> None:
    ids = await objects(shops, shops.mine)
    for route in [route for route in PRIVATE if route.body is not None]:
        for name, body in WORST.items():
            answer = await shops.call(route.method, fill(route.path, ids), content=body, headers=JSON)
            assert answer.status_code == 400, (str(route), name, answer.text)
            assert answer.json()["error"] == "validation_error"
            assert answer.headers["content-type"] == "application/json"


async def test_media_type_and_size_on_every_route_with_a_body(shops: World) -> None:
    ids = await objects(shops, shops.mine)
    for route in [route for route in PRIVATE if route.body is not None]:
        path = fill(route.path, ids)
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"):
            answer = await shops.call(route.method, path, content=b"{}", headers={"content-type": kind})
            assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE"), (str(route), kind)
        if route.handler != "ImportContacts":
            answer = await shops.call(route.method, path, content=b" " * (1024 * 1024 + 1), headers=JSON)
            assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE"), str(route)


async def test_own_answers_sent_back_change_nothing_they_may_not(shops: World) -> None:
    campaign = await shops.campaign()
    evil = campaign | {
        "id": "0198c0de-0000-7000-8000-00000000dead",
        "status": "sent",
        "sentCount": 99,
        "createdAt": "2020-01-01T00:00:00Z",
        "totals": {"recipients": 5},
        "credits": 10**6,
        "tenantId": str(shops.theirs.tenant.id),
    }
    answer = await shops.data("PUT", f"/campaigns/{campaign['id']}", json=evil)
    assert answer | {"updatedAt": ""} == campaign | {"updatedAt": ""}
    contact = await shops.data("POST", "/contacts", status=201, json={"phone": "9812345678", "firstName": "A"})
    answer = await shops.data("PUT", f"/contacts/{contact['id']}", json=contact | {"createdAt": "2020-01-01T00:00:00Z"})
    assert answer | {"updatedAt": ""} == contact | {"updatedAt": ""}


TEXTS = [
    "<b>&amp;\"'</b>",
    "' OR 1=1 --",
    "{{firstName",
    "{{{{}}}}",
    "%s%n",
    "\u202eRTL",
    "a\nb\r\n",
    "👩‍👩‍👧",
    "Z͑͗a",
    "\\",
    "ﬀ",
    "\ufeff",
]


async def test_text_is_stored_as_given(shops: World) -> None:
    for text in TEXTS:
        made = await shops.campaign(f"n{text}", message=f"m{text}")
        again = await shops.data("GET", f"/campaigns/{made['id']}")
        assert (again["name"], again["message"]) == (f"n{text}", f"m{text}")
