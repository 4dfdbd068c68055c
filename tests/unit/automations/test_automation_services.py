from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from tests.unit.tenants.shop import Shop, open_shop

from callboard.automations import rules
from callboard.automations.model import Trigger
from callboard.automations.service import AutomationService, ShopEventService
from callboard.contacts.service import ContactChanges, ContactService
from callboard.errors import InvalidInput, NotFound
from callboard.ids import AutomationId, ContactId
from callboard.values import Phone

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def automations(shop: Shop) -> AutomationService:
    return AutomationService(work=shop.store.work, clock=shop.clock, ids=shop.ids)


def events(shop: Shop) -> ShopEventService:
    return ShopEventService(work=shop.store.work, clock=shop.clock, ids=shop.ids)


async def test_automations_are_stored_listed_edited_toggled_and_deleted() -> None:
    shop = await open_shop()
    service = automations(shop)
    made = await service.create(shop.tenant, name="Welcome Series", trigger=Trigger.ORDER_PLACED, message="Thank you!")
    assert made.active
    off = await service.update(shop.tenant, made.id, active=False)
    assert (off.active, off.message) == (False, "Thank you!")
    edited = await service.update(
        shop.tenant, made.id, message="Line one\nline <two>", name="W", trigger=Trigger.WELCOME
    )
    assert await service.list(shop.tenant) == [edited]
    assert (edited.message, edited.active) == ("Line one\nline <two>", False)
    await service.delete(shop.tenant, made.id)
    assert await service.list(shop.tenant) == []


async def test_a_foreign_automation_is_unknown() -> None:
    shop = await open_shop()
    service = automations(shop)
    made = await service.create(shop.tenant, name="W", trigger=Trigger.WELCOME, message="Hi")
    for automation in (made.id, AutomationId(UUID(int=404))):
        for attempt in (
            service.get(shop.other, automation),
            service.update(shop.other, automation, active=False),
            service.delete(shop.other, automation),
        ):
            with pytest.raises(NotFound):
                await attempt
    assert await service.list(shop.tenant) == [made]
    assert await service.list(shop.other) == []


@pytest.mark.parametrize(
    ("field", "name", "message"),
    [
        ("name", "", "x"),
        ("name", "x" * 201, "x"),
        ("message", "x", ""),
        ("message", "x", "x" * 1601),
        ("message", "x", "\x00"),
    ],
)
async def test_an_automation_that_makes_no_sense_is_refused_by_field(field: str, name: str, message: str) -> None:
    shop = await open_shop()
    with pytest.raises(InvalidInput) as caught:
        await automations(shop).create(shop.tenant, name=name, trigger=Trigger.WELCOME, message=message)
    assert caught.value.field == field


def test_an_unknown_trigger_is_an_error() -> None:
    assert rules.read_trigger("birthday") is Trigger.BIRTHDAY
    for text in ("", "Birthday", "order"):
        with pytest.raises(InvalidInput) as caught:
            rules.read_trigger(text)
        assert caught.value.field == "triggerType"


async def test_a_tenant_starts_with_a_small_set_of_texts_made_once() -> None:
    shop = await open_shop()
    service = automations(shop)
    first = await service.templates(shop.tenant)
    assert len(first) == len(rules.TEXTS)
    assert await service.templates(shop.tenant) == first
    assert {template.id for template in await service.templates(shop.other)}.isdisjoint(t.id for t in first)


def test_the_built_in_texts_fit_a_message_and_only_use_placeholders_that_exist() -> None:
    for _, category, text in rules.TEXTS:
        assert len(text) <= rules.MAX_MESSAGE
        assert category in {*Trigger, "promotion"}
        rest = text
        for name in (
            "firstName|there",
            "firstName|friend",
            "shopName",
            "discount|see our shop",
            "discount|our best prices",
            "discount",
        ):
            rest = rest.replace("{{" + name + "}}", "")
        assert "{" not in rest


async def test_a_shop_event_is_kept_once_per_source_and_id() -> None:
    shop = await open_shop()
    service = events(shop)
    said = {"type": "order_placed", "phone": "98765 43210", "external_id": "e-1"}
    assert await service.record(shop.tenant, **said) is True  # type: ignore[arg-type]
    assert await service.record(shop.tenant, **said) is False  # type: ignore[arg-type]
    assert await service.record(shop.tenant, **said, source="shopify") is True  # type: ignore[arg-type]
    assert await service.record(shop.other, **said) is True  # type: ignore[arg-type]
    assert await service.record(shop.tenant, type="order_placed") is True
    assert await service.record(shop.tenant, type="order_placed") is True


async def test_an_event_may_name_a_contact_of_its_own_tenant_only() -> None:
    shop = await open_shop()
    contacts = ContactService(work=shop.store.work, clock=shop.clock, ids=shop.ids)
    asha = await contacts.create(shop.tenant, ContactChanges(phone=Phone("+919876543210"), email="a@example.com"))
    assert await events(shop).record(shop.tenant, type="welcome", contact=asha.id) is True
    for tenant, contact in ((shop.other, asha.id), (shop.tenant, ContactId(UUID(int=404)))):
        with pytest.raises(NotFound):
            await events(shop).record(tenant, type="welcome", contact=contact)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("type", {"type": "unknown"}),
        ("type", {"type": ""}),
        ("type", {"type": "evil/topic"}),
        ("phone", {"phone": "junk"}),
        ("id", {"external_id": ""}),
        ("id", {"external_id": "x" * 256}),
        ("id", {"external_id": "a\x00"}),
        ("email", {"email": "x" * 255}),
        ("properties", {"properties": {"a": "x" * 70_000}}),
        ("properties", {"properties": {"a": "\x00"}}),
        ("properties", {"properties": {"a": "\ud800"}}),
        ("properties", {"properties": {"a": float("nan")}}),
        ("properties", {"properties": {"a": object()}}),
        ("occurredAt", {"occurred_at": datetime(2026, 1, 1)}),
    ],
)
async def test_an_event_that_makes_no_sense_is_refused_by_field(field: str, values: dict[str, object]) -> None:
    shop = await open_shop()
    with pytest.raises(InvalidInput) as caught:
        await events(shop).record(shop.tenant, **{"type": "welcome", **values})  # type: ignore[arg-type]
    assert caught.value.field == field


def test_properties_are_stored_as_given() -> None:
    given = {"a": "<b>é😀\n", "n": [1, 2.5, None, True], "backslash": "\\u0000 \\"}
    event = rules.shop_event(
        external_id="1",
        source="api",
        type="orders/create",
        phone=None,
        email=None,
        properties=given,
        occurred_at=NOW,
        now=NOW,
    )
    assert json.loads(event.properties) == given
