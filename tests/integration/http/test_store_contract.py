"""Every JSON example and request of contracts/store.md, key for key: notation resolved, dates moved, ids looked up."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.http.shop import World, in_days

from callboard.contacts.model import Consent, Gender
from callboard.values import Phone

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
CAMPAIGN = {
    "name": "Campaign Name",
    "message": "Hello {{firstName}}, use code {{discount}}!",
    "audience": "all",
    "includeDiscount": True,
    "discountValue": "SAVE20",
    "scheduleType": "immediate",
    "priority": "normal",
}


def has_shape(actual: Any, example: Any, path: str = "$") -> None:
    """Every key of the example is there with a value of its kind; further keys are allowed."""
    match example:
        case dict():
            assert isinstance(actual, dict), path
            for key, value in example.items():
                assert key in actual, f"{path}.{key}"
                has_shape(actual[key], value, f"{path}.{key}")
        case list():
            assert isinstance(actual, list), path
            assert actual or not example, path
            for item in actual:
                has_shape(item, example[0], f"{path}[]")
        case bool() | None:
            assert type(actual) is type(example), path
        case int() | float():
            assert isinstance(actual, int | float), path
            assert not isinstance(actual, bool), path
        case str() if MOMENT.fullmatch(example):
            assert isinstance(actual, str), path
            assert MOMENT.fullmatch(actual), path
        case str():
            assert isinstance(actual, str), path


async def test_dashboard(shops: World) -> None:
    await shops.mine.contacts(3)
    campaign = await shops.campaign()
    await shops.data("POST", f"/campaigns/{campaign['id']}/enqueue")
    await shops.data(
        "POST",
        "/automations",
        status=201,
        json={"name": "A", "triggerType": "welcome", "message": "Hi", "active": True},
    )
    answer = (await shops.call("GET", "/dashboard")).json()
    example = {
        "success": True,
        "data": {
            "credits": 1000,
            "totalCampaigns": 25,
            "totalContacts": 500,
            "totalMessagesSent": 10000,
            "activeAutomations": 3,
            "kpis": {"totalContacts": 1, "activeCampaigns": 1, "activeAutomations": 1},
            "reports": {
                "last7Days": {"sent": 500, "delivered": 480, "failed": 20, "unsubscribes": 5},
                "topCampaigns": [],
                "deliveryRateTrend": [],
                "creditsUsage": [{"date": "2025-01-20", "creditsDebited": 200}],
            },
        },
    }
    has_shape(answer, example)
    data = answer["data"]
    assert (data["credits"], data["totalCampaigns"], data["totalContacts"]) == (997, 1, 3)
    assert (data["activeAutomations"], data["kpis"]["activeCampaigns"]) == (1, 1)
    assert data["reports"]["creditsUsage"][-1]["creditsDebited"] == 3


async def test_campaign_list(shops: World) -> None:
    await shops.campaign()
    answer = (await shops.call("GET", "/campaigns?page=1&pageSize=20&sortBy=createdAt&sortOrder=desc")).json()
    example = {
        "success": True,
        "data": [
            {
                "id": "campaign123",
                "name": "Summer Sale",
                "status": "sent",
                "createdAt": "2025-01-20T10:00:00Z",
                "scheduledAt": None,
                "sentCount": 200,
                "deliveredCount": 195,
                "failedCount": 5,
                "recipientCount": 200,
                "message": "",
                "audience": "all",
                "scheduleType": "immediate",
                "scheduleAt": None,
                "recurringDays": None,
                "priority": "normal",
                "updatedAt": "2025-01-20T10:00:00Z",
                "totals": {"recipients": 0, "accepted": 0, "sent": 0, "delivered": 0, "failed": 0},
            }
        ],
        "pagination": {
            "page": 1,
            "pageSize": 20,
            "total": 100,
            "totalPages": 5,
            "hasNextPage": True,
            "hasPrevPage": False,
        },
    }
    has_shape(answer, example)
    assert answer["pagination"] == {
        "page": 1,
        "pageSize": 20,
        "total": 1,
        "totalPages": 1,
        "hasNextPage": False,
        "hasPrevPage": False,
    }


@pytest.mark.parametrize("audience", ["all", {"type": "all"}, "men", "women", "male", "female"])
@pytest.mark.parametrize(
    ("schedule", "status"),
    [
        ({"scheduleType": "immediate"}, "draft"),
        ({"scheduleType": "scheduled", "scheduleAt": "AT"}, "scheduled"),
        ({"scheduleType": "recurring", "recurringDays": 7}, "draft"),
        ({"scheduleType": "recurring", "recurringDays": 7, "scheduleAt": "AT"}, "scheduled"),
    ],
)
async def test_create_campaign(shops: World, audience: Any, schedule: dict[str, Any], status: str) -> None:
    at = in_days(5)
    body = CAMPAIGN | {"audience": audience} | {k: at if v == "AT" else v for k, v in schedule.items()}
    answer = await shops.call("POST", "/campaigns", json=body)
    assert answer.status_code == 201
    created = answer.json()["data"]
    assert answer.json()["success"] is True
    assert (created["name"], created["message"], created["status"]) == (body["name"], body["message"], status)
    assert created["meta"] == {"includeDiscount": True, "discountValue": "SAVE20"}
    assert created["scheduledAt"] == created["scheduleAt"] == body.get("scheduleAt")
    assert created["priority"] == "normal"


@pytest.mark.parametrize("priority", ["low", "normal", "high", "urgent"])
async def test_priorities_are_kept(shops: World, priority: str) -> None:
    assert (await shops.campaign(priority=priority))["priority"] == priority


async def test_both_forms_of_a_segment_audience(shops: World) -> None:
    segments = (await shops.data("GET", "/audiences/segments"))["segments"]
    segment = segments[0]["id"]
    forms = [f"segment:{segment}", {"type": "segment", "segmentId": segment}]
    for n, audience in enumerate(forms):
        made = await shops.campaign(f"C{n}", audience=audience)
        assert made["audience"] == {"type": "segment", "segmentId": segment}
        changed = await shops.data("PUT", f"/campaigns/{made['id']}", json={"audience": forms[1 - n]})
        assert changed["audience"] == {"type": "segment", "segmentId": segment}


async def test_enqueue(shops: World) -> None:
    await shops.mine.contacts(4)
    await shops.mine.contact("+919700000001", consent=Consent.UNKNOWN)
    campaign = await shops.campaign()
    answer = await shops.call("POST", f"/campaigns/{campaign['id']}/enqueue")
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "data": {"status": "queued", "queuedRecipients": 4, "creditsDebited": 4},
    }
    assert ("dispatch",) in shops.hints.woken


async def test_delete_campaign(shops: World) -> None:
    campaign = await shops.campaign()
    await shops.data("DELETE", f"/campaigns/{campaign['id']}")
    assert (await shops.call("GET", f"/campaigns/{campaign['id']}")).status_code == 404


async def test_contact_list(shops: World) -> None:
    await shops.mine.contact("+12345678900", first_name="John", last_name="Doe")
    answer = (await shops.call("GET", "/contacts?page=1&limit=20&search=John")).json()
    example = {
        "success": True,
        "data": {
            "contacts": [
                {
                    "id": "contact123",
                    "phoneE164": "+1234567890",
                    "firstName": "John",
                    "lastName": "Doe",
                    "smsConsent": "opted_in",
                    "createdAt": "2025-01-20T10:00:00Z",
                    "phone": "+1234567890",
                    "tags": [],
                    "isSubscribed": True,
                    "updatedAt": "2025-01-20T10:00:00Z",
                    "email": None,
                    "gender": None,
                    "birthDate": None,
                }
            ],
            "total": 500,
            "page": 1,
            "pageSize": 20,
        },
    }
    has_shape(answer, example)
    data = answer["data"]
    assert data["items"] == data["contacts"]
    assert data["pagination"]["total"] == data["total"] == 1
    assert data["contacts"][0]["phone"] == data["contacts"][0]["phoneE164"] == "+12345678900"


async def test_contact_import(shops: World) -> None:
    csv = (
        "phoneE164,firstName,lastName,email,gender,birthDate,smsConsent\n"
        "+919812345678,A,B,a@b.c,male,1990-01-31,opted_in\n"
    )
    answer = await shops.call("POST", "/contacts/import", files={"file": ("people.csv", csv.encode(), "text/csv")})
    assert answer.status_code == 200
    assert answer.json()["data"] == {
        "imported": 1,
        "created": 1,
        "updated": 0,
        "skipped": 0,
        "invalid": 0,
        "total": 1,
        "errors": [],
        "dryRun": False,
    }


async def test_segments(shops: World) -> None:
    answer = (await shops.call("GET", "/audiences/segments")).json()
    example = {
        "success": True,
        "data": {
            "segments": [
                {
                    "id": "segment123",
                    "key": "gender_male",
                    "name": "Male",
                    "type": "system",
                    "criteria": {},
                    "criteriaJson": {},
                    "estimatedCount": 1,
                    "isActive": True,
                    "createdAt": "2025-01-20T10:00:00Z",
                }
            ],
            "total": 8,
        },
    }
    has_shape(answer, example)
    by_key = {segment["key"]: segment for segment in answer["data"]["segments"]}
    assert answer["data"]["total"] == 8
    assert list(by_key) == [
        "gender_male",
        "gender_female",
        "gender_unknown",
        "age_18_24",
        "age_25_34",
        "age_35_44",
        "age_45_54",
        "age_55_plus",
    ]
    male, young = by_key["gender_male"], by_key["age_18_24"]
    assert (male["name"], male["type"], male["criteria"]) == ("Male", "system", {"gender": "male"})
    assert (young["name"], young["criteria"]) == ("Age 18-24", {"age": {"gte": 18, "lte": 24}})
    again = (await shops.call("GET", "/audiences/segments")).json()
    assert again == answer


async def test_segment_preview(shops: World) -> None:
    await shops.mine.contact("+919800000001", gender=Gender.MALE)
    await shops.mine.contact("+919800000002", gender=Gender.FEMALE)
    segment = (await shops.data("GET", "/audiences/segments"))["segments"][0]
    answer = await shops.call("GET", f"/audiences/segments/{segment['id']}/preview")
    assert answer.json() == {"success": True, "data": {"segmentId": segment["id"], "estimatedCount": 1}}


async def test_automations(shops: World) -> None:
    body = {
        "name": "Welcome Series",
        "triggerType": "order_placed",
        "message": "Thank you for your order!",
        "active": True,
    }
    made = await shops.data("POST", "/automations", status=201, json=body)
    answer = (await shops.call("GET", "/automations")).json()
    has_shape(
        answer,
        {
            "success": True,
            "data": {"automations": [body | {"id": "auto123", "createdAt": "2025-01-20T10:00:00Z"}]},
        },
    )
    row = answer["data"]["automations"][0]
    assert {key: row[key] for key in body} == body
    assert (row["trigger"], row["status"], row["isActive"]) == ("order_placed", "active", True)
    changed = await shops.data("PUT", f"/automations/{made['id']}", json={"active": True, "message": "Updated message"})
    assert (changed["active"], changed["message"], changed["name"]) == (True, "Updated message", "Welcome Series")


@pytest.mark.parametrize(
    ("body", "active"),
    [
        ({"isActive": False}, False),
        ({"active": False}, False),
        ({"status": "inactive"}, False),
        ({"status": "paused"}, False),
        ({"isActive": True}, True),
        ({"status": "active"}, True),
    ],
)
async def test_automation_status_in_every_spelling(shops: World, body: dict[str, Any], active: bool) -> None:
    made = await shops.data(
        "POST",
        "/automations",
        status=201,
        json={"name": "A", "trigger": "birthday", "message": "Hi", "isActive": not active},
    )
    changed = await shops.data("PUT", f"/automations/{made['id']}/status", json=body)
    assert (changed["active"], changed["isActive"], changed["status"]) == (
        active,
        active,
        "active" if active else "paused",
    )


async def test_templates(shops: World) -> None:
    answer = (await shops.call("GET", "/templates")).json()
    example = {
        "success": True,
        "data": {
            "templates": [
                {
                    "id": "template123",
                    "name": "Welcome Message",
                    "category": "welcome",
                    "message": "Welcome {{firstName}}!",
                    "content": "Welcome {{firstName}}!",
                    "text": "Welcome {{firstName}}!",
                    "createdAt": "2025-01-20T10:00:00Z",
                    "updatedAt": "2025-01-20T10:00:00Z",
                }
            ]
        },
    }
    has_shape(answer, example)
    data = answer["data"]
    assert data["items"] == data["templates"]
    assert data["total"] == len(data["templates"])
    assert (await shops.call("GET", "/templates")).json() == answer


async def test_settings(shops: World) -> None:
    before = await shops.data("GET", "/settings")
    assert all(isinstance(value, str | int | float | bool) for value in before.values())
    after = await shops.data(
        "PUT", "/settings", json={"shopName": "New", "frequencyCap": "4", "shopId": "x", "unknown": {"a": 1}}
    )
    assert after == before | {"shopName": "New", "frequencyCap": 4}
    assert await shops.data("GET", "/settings") == after


@pytest.mark.parametrize("path", ["/dashboard", "/campaigns", "/contacts", "/settings"])
async def test_401(shops: World, path: str) -> None:
    answer = await shops.client.get(path)
    assert answer.status_code == 401
    assert answer.json() == {
        "success": False,
        "error": "unauthorized",
        "message": "Authentication required",
        "code": "UNAUTHORIZED",
    }


async def test_400(shops: World) -> None:
    answer = await shops.call("POST", "/campaigns", json={"name": "x"})
    assert answer.status_code == 400
    body = answer.json()
    assert (body["success"], body["error"], body["message"]) == (False, "validation_error", "Validation failed")
    assert body["details"]["field"] == "message"


async def test_404(shops: World) -> None:
    answer = await shops.call("GET", "/campaigns/campaign123")
    assert answer.status_code == 404
    assert answer.json() == {
        "success": False,
        "error": "not_found",
        "message": "Resource not found",
        "code": "NOT_FOUND",
    }


async def test_bearer_jwt_is_taken(shops: World) -> None:
    answer = await shops.client.get("/dashboard", headers={"Authorization": f"Bearer {shops.mine.token()}"})
    assert answer.status_code == 200


async def test_there_is_no_reports_endpoint(shops: World) -> None:
    assert (await shops.call("GET", "/reports")).status_code == 404


async def test_only_one_to_a_hundred_a_page(shops: World) -> None:
    await shops.mine.contacts(3)
    for query, size in (("limit=500", 100), ("pageSize=2", 2), ("limit=1", 1), ("", 20), ("pageSize=", 20)):
        data = await shops.data("GET", f"/contacts?{query}")
        assert data["pageSize"] == data["pagination"]["pageSize"] == size
        assert len(data["contacts"]) == min(size, 3)
    second = await shops.data("GET", "/contacts?page=2&limit=2")
    assert second["pagination"] == {
        "page": 2,
        "pageSize": 2,
        "total": 3,
        "totalPages": 2,
        "hasNextPage": False,
        "hasPrevPage": True,
    }
    for query in ("page=0", "page=-1", "limit=0", "pageSize=-5", "page=x", "page=99999999999"):
        assert (await shops.call("GET", f"/contacts?{query}")).status_code == 400


async def test_sorting_and_filtering_campaigns(shops: World) -> None:
    for name in ("b", "a", "c"):
        await shops.campaign(name)
    await shops.campaign("later", scheduleType="scheduled", scheduleAt=in_days(1))

    async def names(query: str) -> list[str]:
        return [row["name"] for row in (await shops.call("GET", f"/campaigns?{query}")).json()["data"]]

    assert await names("sortBy=name&sortOrder=asc") == ["a", "b", "c", "later"]
    assert await names("sortBy=name&sortOrder=desc") == ["later", "c", "b", "a"]
    assert await names("") == ["later", "c", "a", "b"]
    assert (await names("sortBy=scheduleAt"))[0] == "later"
    assert await names("status=scheduled") == ["later"]
    assert await names("status=&sortBy=&sortOrder=") == ["later", "c", "a", "b"]
    for query in ("status=SENT", "status=running", "sortBy=id", "sortOrder=up", "sortBy=name;drop"):
        assert (await shops.call("GET", f"/campaigns?{query}")).status_code == 400, query


async def test_age_segments_go_by_the_exact_day(shops: World) -> None:
    today = (datetime.now(UTC) + timedelta(hours=5, minutes=30)).date()  # the shop's zone is Asia/Kolkata
    for n, age in enumerate((17, 18, 24, 25, 34, 35, 44, 45, 54, 55, 90)):
        for half in (0, 1):  # the birthday is today, or was yesterday's tomorrow: one day short of it
            born = today.replace(year=today.year - age, day=min(today.day, 28)) + timedelta(days=half)
            await shops.mine.services.contacts.create(
                shops.mine.tenant.id,
                _born(f"+9198{n:02}{half:02}0001", born),
            )
    segments = (await shops.data("GET", "/audiences/segments"))["segments"]
    counts = {segment["key"]: segment["estimatedCount"] for segment in segments}
    ages = [age - half for age in (17, 18, 24, 25, 34, 35, 44, 45, 54, 55, 90) for half in (0, 1)]
    for key, low, high in (
        ("age_18_24", 18, 24),
        ("age_25_34", 25, 34),
        ("age_35_44", 35, 44),
        ("age_45_54", 45, 54),
        ("age_55_plus", 55, 999),
    ):
        assert counts[key] == sum(low <= age <= high for age in ages), key


def _born(phone: str, born: Any) -> Any:
    from callboard.contacts.service import ContactChanges

    return ContactChanges(phone=Phone(phone), birth_date=born, consent=Consent.OPTED_IN)
