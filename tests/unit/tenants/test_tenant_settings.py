from __future__ import annotations

import json
from datetime import time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tenants.shop import Shop, open_shop

from callboard.errors import InvalidInput
from callboard.tenants import settings
from callboard.tenants.model import Channel, FrequencyCap, QuietHours
from callboard.tenants.service import SettingsService


def service(shop: Shop) -> SettingsService:
    return SettingsService(work=shop.store.work, system=shop.store.system)


async def test_settings_are_a_flat_object_whose_every_value_can_be_printed() -> None:
    shop = await open_shop()
    shown = await service(shop).get(shop.tenant)
    assert set(settings.SETTINGS) <= set(shown)
    assert all(isinstance(value, str | int) for value in shown.values())
    assert (shown["shopName"], shown["channel"], shown["timezone"]) == ("Chai & Co", "sms", "Asia/Kolkata")
    assert (shown["currency"], shown["frequencyCap"], shown["quietHoursStart"]) == ("INR", 0, "")


async def test_quiet_hours_and_the_cap_are_off_by_default() -> None:
    shop = await open_shop()
    policy = await service(shop).policy(shop.tenant)
    assert (policy.quiet_hours, policy.frequency_cap, policy.channel) == (None, None, Channel.SMS)


async def test_strings_are_coerced_and_every_setting_has_its_effect() -> None:
    shop = await open_shop()
    shown = await service(shop).put(
        shop.tenant,
        {
            "frequencyCap": "3",
            "frequencyCapHours": 48,
            "quietHoursStart": "21:00",
            "quietHoursEnd": " 09:30 ",
            "channel": "WhatsApp",
            "timezone": "Europe/Athens",
            "currency": "eur",
            "senderName": "CHAI",
            "shopName": "Chai <b>",
        },
    )
    assert (shown["frequencyCap"], shown["frequencyCapHours"], shown["shopName"]) == (3, 48, "Chai <b>")
    assert (shown["timezone"], shown["currency"]) == ("Europe/Athens", "EUR")
    policy = await service(shop).policy(shop.tenant)
    assert policy.quiet_hours == QuietHours(start=time(21), end=time(9, 30))
    assert policy.frequency_cap == FrequencyCap(limit=3, window=timedelta(hours=48))
    assert (policy.channel, policy.timezone) == (Channel.WHATSAPP, "Europe/Athens")
    async with shop.store.work(shop.tenant) as w:
        assert w.tenant.timezone == "Europe/Athens"


async def test_an_update_is_partial_and_unknown_and_read_only_names_are_ignored() -> None:
    shop = await open_shop()
    await service(shop).put(shop.tenant, {"senderName": "CHAI"})
    shown = await service(shop).put(
        shop.tenant, {"shopId": "x", "region": "GR", "createdAt": 1, "credits": 10**6, "nope": {"deep": []}}
    )
    assert (shown["senderName"], shown["region"]) == ("CHAI", "IN")
    assert "nope" not in shown
    assert "credits" not in shown
    assert (await service(shop).get(shop.other))["senderName"] == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("channel", "pigeon"),
        ("timezone", "Mars/Base"),
        ("timezone", None),
        ("currency", "RUPEE"),
        ("frequencyCap", "-1"),
        ("frequencyCap", "1.5"),
        ("frequencyCap", 1001),
        ("frequencyCap", 2**70),
        ("frequencyCap", True),
        ("frequencyCap", "１"),
        ("frequencyCapHours", 0),
        ("quietHoursStart", "24:00"),
        ("quietHoursEnd", "9"),
        ("shopName", ""),
        ("shopName", "\x00"),
        ("shopName", ["x"]),
        ("senderName", "TWELVE CHARS"),
        ("defaultDiscount", {"a": 1}),
    ],
)
async def test_a_bad_value_is_refused_by_name_and_nothing_is_stored(name: str, value: object) -> None:
    shop = await open_shop()
    before = await service(shop).get(shop.tenant)
    with pytest.raises(InvalidInput) as caught:
        await service(shop).put(shop.tenant, {"senderName": "CHAI", name: value})
    assert caught.value.field == name
    assert await service(shop).get(shop.tenant) == before


async def test_quiet_hours_act_only_when_both_ends_are_set_and_differ() -> None:
    shop = await open_shop()
    for values in ({"quietHoursStart": "21:00"}, {"quietHoursEnd": "21:00"}):
        await service(shop).put(shop.tenant, values)
        assert (await service(shop).policy(shop.tenant)).quiet_hours is None
    await service(shop).put(shop.tenant, {"quietHoursEnd": "08:00"})
    assert (await service(shop).policy(shop.tenant)).quiet_hours == QuietHours(start=time(21), end=time(8))
    await service(shop).put(shop.tenant, {"quietHoursStart": None})
    assert (await service(shop).policy(shop.tenant)).quiet_hours is None


async def test_what_is_shown_can_be_put_back_unchanged() -> None:
    shop = await open_shop()
    shown = await service(shop).get(shop.tenant)
    assert await service(shop).put(shop.tenant, shown) == shown
    assert await service(shop).put(shop.tenant, {name: str(value) for name, value in shown.items()}) == shown


async def test_a_secret_is_never_among_the_settings() -> None:
    shop = await open_shop()
    await service(shop).put_secret(shop.tenant, "CALLBOARD_SMS_API_KEY", "topsecret")
    assert "topsecret" not in json.dumps(await service(shop).get(shop.tenant))
    async with shop.store.work(shop.tenant) as w:
        assert await w.settings.secret("CALLBOARD_SMS_API_KEY") == "topsecret"
    async with shop.store.work(shop.other) as w:
        assert await w.settings.secret("CALLBOARD_SMS_API_KEY") is None
    await service(shop).put_secret(shop.tenant, "CALLBOARD_SMS_API_KEY", None)
    async with shop.store.work(shop.tenant) as w:
        assert await w.settings.secret("CALLBOARD_SMS_API_KEY") is None
    with pytest.raises(InvalidInput):
        await service(shop).put_secret(shop.tenant, "PATH", "x")


@given(
    st.dictionaries(
        st.sampled_from([*settings.SETTINGS, "x"]), st.none() | st.booleans() | st.integers() | st.text() | st.floats()
    )
)
def test_any_values_at_all_are_stored_as_text_or_refused_by_name(values: dict[str, object]) -> None:
    try:
        changes = settings.read_changes(values)
    except InvalidInput as refusal:
        assert refusal.field in values
    else:
        assert set(changes) <= set(values) & set(settings.SETTINGS)
        assert settings.read_changes(changes) == changes
