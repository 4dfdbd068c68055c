"""Which provider a tenant gets, and how soon a change of its settings is seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

import attrs
import pytest

from callboard.errors import NotConfigured, NotFound
from callboard.ids import TenantId
from callboard.tenants.model import Channel
from callboard_adapters.channels import ChannelsConfig, ProviderChannels
from callboard_adapters.outbound import Outbound
from callboard_adapters.sms.client import MittoSms
from callboard_adapters.whatsapp.client import WhatsAppCloud

ONE, TWO = TenantId(UUID(int=1)), TenantId(UUID(int=2))


@attrs.define
class StoredSettings:
    plain: dict[str, str] = attrs.Factory(dict)
    secrets: dict[str, str] = attrs.Factory(dict)

    async def all(self) -> Mapping[str, str]:
        return self.plain

    async def secret(self, name: str) -> str | None:
        return self.secrets.get(name)

    async def put(self, values: Mapping[str, str | None], *, secret: bool = False) -> None:
        where = self.secrets if secret else self.plain
        for name, value in values.items():
            if value is None:
                where.pop(name, None)
            else:
                where[name] = value


@attrs.define
class Stored:
    settings: StoredSettings


@attrs.define
class World:
    tenants: dict[TenantId, Stored] = attrs.Factory(dict)
    now: float = 100.0
    opened: int = 0

    @asynccontextmanager
    async def work(self, tenant: TenantId) -> AsyncIterator[Stored]:
        self.opened += 1
        if tenant not in self.tenants:
            raise NotFound("No such tenant")
        yield self.tenants[tenant]

    def channels(self, config: ChannelsConfig | None = None) -> ProviderChannels:
        return ProviderChannels(
            work=self.work, http=Outbound(), config=config or ChannelsConfig(), monotonic=lambda: self.now
        )


@pytest.fixture
def world() -> World:
    one = StoredSettings(
        plain={"CALLBOARD_SMS_SENDER": "Shop"},
        secrets={
            "CALLBOARD_SMS_API_KEY": "key-1",
            "WHATSAPP_PHONE_NUMBER_ID": "1065",
            "WHATSAPP_ACCESS_TOKEN": "token-1",
        },
    )
    return World({ONE: Stored(one), TWO: Stored(StoredSettings())})


async def test_settings_may_be_plain_or_secret_and_make_the_client(world: World) -> None:
    channels = world.channels(ChannelsConfig(sms_base_url="http://t/", sms_bulk_size=10, sms_requests=4))
    sms = await channels.client(ONE, Channel.SMS)
    assert isinstance(sms, MittoSms)
    assert (sms.base_url, sms.api_key, sms.sender, sms.account_id) == ("http://t", "key-1", "Shop", None)
    assert (sms.concurrency, sms.per_second) == (40, 0.0)
    whatsapp = await channels.client(ONE, Channel.WHATSAPP)
    assert isinstance(whatsapp, WhatsAppCloud)
    assert whatsapp.url == "https://graph.facebook.com/v23.0/1065/messages"
    assert (whatsapp.concurrency, whatsapp.per_second) == (32, 80.0)
    assert "key-1" not in repr(sms)
    assert "token-1" not in repr(whatsapp)


@pytest.mark.parametrize(
    ("channel", "missing"),
    [
        (Channel.SMS, "CALLBOARD_SMS_API_KEY"),
        (Channel.SMS, "CALLBOARD_SMS_SENDER"),
        (Channel.WHATSAPP, "WHATSAPP_PHONE_NUMBER_ID"),
        (Channel.WHATSAPP, "WHATSAPP_ACCESS_TOKEN"),
    ],
)
@pytest.mark.parametrize("left", [None, "", "  "])
async def test_a_missing_setting_is_named_with_the_way_to_set_it(
    world: World, channel: Channel, missing: str, left: str | None
) -> None:
    stored = world.tenants[ONE].settings
    stored.plain.pop(missing, None)
    stored.secrets.pop(missing, None)
    if left is not None:
        stored.secrets[missing] = left
    with pytest.raises(NotConfigured) as refused:
        await world.channels().client(ONE, channel)
    assert missing in refused.value.message
    assert refused.value.details == {"setting": missing}


async def test_a_rotated_key_is_used_within_five_seconds_and_a_new_one_at_once(world: World) -> None:
    channels = world.channels()
    with pytest.raises(NotConfigured):
        await channels.client(TWO, Channel.SMS)
    world.tenants[TWO].settings.secrets.update({"CALLBOARD_SMS_API_KEY": "k", "CALLBOARD_SMS_SENDER": "S"})
    first = await channels.client(TWO, Channel.SMS)  # a refusal is not remembered
    assert await channels.client(TWO, Channel.SMS) is first
    world.tenants[TWO].settings.secrets["CALLBOARD_SMS_API_KEY"] = "rotated"
    world.now += 4.9
    assert await channels.client(TWO, Channel.SMS) is first
    world.now += 0.1
    second = await channels.client(TWO, Channel.SMS)
    assert isinstance(second, MittoSms)
    assert second.api_key == "rotated"
    world.tenants[TWO].settings.secrets["CALLBOARD_SMS_API_KEY"] = "again"
    channels.forget(TWO)
    third = await channels.client(TWO, Channel.SMS)
    assert isinstance(third, MittoSms)
    assert third.api_key == "again"


async def test_the_shops_own_sender_name_goes_first(world: World) -> None:
    world.tenants[ONE].settings.plain["senderName"] = "Boutique"
    sms = await world.channels().client(ONE, Channel.SMS)
    assert isinstance(sms, MittoSms)
    assert sms.sender == "Boutique"
    world.tenants[ONE].settings.plain["senderName"] = " "
    fallback = await world.channels().client(ONE, Channel.SMS)
    assert isinstance(fallback, MittoSms)
    assert fallback.sender == "Shop"


async def test_one_tenants_client_is_never_anothers(world: World) -> None:
    channels = world.channels()
    await channels.client(ONE, Channel.SMS)
    with pytest.raises(NotConfigured):
        await channels.client(TWO, Channel.SMS)
    with pytest.raises(NotFound):
        await channels.client(TenantId(UUID(int=3)), Channel.SMS)


def test_settings_may_not_be_cached_for_longer_than_promised() -> None:
    with pytest.raises(ValueError, match="cache_seconds"):
        ChannelsConfig(cache_seconds=6.0)
