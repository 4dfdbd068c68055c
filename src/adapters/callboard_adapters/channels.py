"""Which provider carries a tenant's messages: read from its settings, so that a rotated key is used within seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import attrs

from callboard.errors import NotConfigured
from callboard.ids import TenantId
from callboard.messages.ports import ChannelClient
from callboard.tenants.model import Channel
from callboard.tenants.ports import Settings
from callboard.work import OpenWork
from callboard_adapters.outbound import Outbound
from callboard_adapters.sms.client import MittoSms
from callboard_adapters.whatsapp.client import WhatsAppCloud

SMS_API_KEY: Final = "CALLBOARD_SMS_API_KEY"
SMS_SENDER: Final = "CALLBOARD_SMS_SENDER"
SMS_ACCOUNT_ID: Final = "CALLBOARD_SMS_ACCOUNT_ID"
SENDER_NAME: Final = "senderName"
"""The shop's own setting on its dashboard; goes before the installation's ``CALLBOARD_SMS_SENDER``."""
WHATSAPP_PHONE_NUMBER_ID: Final = "WHATSAPP_PHONE_NUMBER_ID"
WHATSAPP_ACCESS_TOKEN: Final = "WHATSAPP_ACCESS_TOKEN"


@attrs.frozen(kw_only=True)
class ChannelsConfig:
    """What the installation decides, not the tenant. Rates are messages per second of one sender, 0 means unlimited."""

    sms_base_url: str = "https://messaging.mittoapi.com"
    sms_per_second: float = 0.0
    sms_requests: int = 32
    sms_bulk_size: int = 1
    whatsapp_base_url: str = "https://graph.facebook.com"
    whatsapp_version: str = "v23.0"
    whatsapp_per_second: float = 80.0
    whatsapp_requests: int = 32
    cache_seconds: float = attrs.field(default=5.0, validator=attrs.validators.le(5.0))


class SettingsWork(Protocol):
    """The one thing needed of a tenant's transaction."""

    @property
    def settings(self) -> Settings: ...


_NAMES: Final[Mapping[Channel, tuple[str, ...]]] = {
    Channel.SMS: (SMS_API_KEY, SMS_SENDER, SMS_ACCOUNT_ID),
    Channel.WHATSAPP: (WHATSAPP_PHONE_NUMBER_ID, WHATSAPP_ACCESS_TOKEN),
}


class ProviderChannels:
    """:class:`callboard.messages.ports.Channels`. A client is kept ``cache_seconds`` at most, a refusal not at all."""

    def __init__(
        self,
        *,
        work: OpenWork[SettingsWork],
        http: Outbound,
        config: ChannelsConfig,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work, self._http, self._config, self._monotonic = work, http, config, monotonic
        self._known: dict[tuple[TenantId, Channel], tuple[float, ChannelClient]] = {}

    async def client(self, tenant: TenantId, channel: Channel) -> ChannelClient:
        """The tenant's provider; :class:`NotConfigured` names the setting that is missing and how to set it."""
        known = self._known.get((tenant, channel))
        if known is not None and self._monotonic() < known[0]:
            return known[1]
        self._known.pop((tenant, channel), None)
        asked = self._monotonic()  # the age of a value counts from before it was read
        async with self._work(tenant) as w:
            plain = await w.settings.all()
            values = {name: plain.get(name) or await w.settings.secret(name) for name in _NAMES[channel]}
        if channel is Channel.SMS and (chosen := plain.get(SENDER_NAME, "").strip()):
            values[SMS_SENDER] = chosen
        client = self._make(channel, values)
        self._known[tenant, channel] = (asked + self._config.cache_seconds, client)
        return client

    def forget(self, tenant: TenantId) -> None:
        """Read this tenant's settings anew at the next call: for the process that has just changed them."""
        for channel in Channel:
            self._known.pop((tenant, channel), None)

    def _make(self, channel: Channel, values: Mapping[str, str | None]) -> ChannelClient:
        config = self._config
        match channel:
            case Channel.SMS:
                return MittoSms(
                    http=self._http,
                    base_url=config.sms_base_url.rstrip("/"),
                    api_key=_need(values, SMS_API_KEY, "SMS"),
                    sender=_need(values, SMS_SENDER, "SMS"),
                    account_id=values.get(SMS_ACCOUNT_ID) or None,
                    requests=config.sms_requests,
                    bulk_size=config.sms_bulk_size,
                    per_second=config.sms_per_second,
                )
            case Channel.WHATSAPP:
                return WhatsAppCloud(
                    http=self._http,
                    base_url=config.whatsapp_base_url.rstrip("/"),
                    version=config.whatsapp_version,
                    phone_number_id=_need(values, WHATSAPP_PHONE_NUMBER_ID, "WhatsApp"),
                    access_token=_need(values, WHATSAPP_ACCESS_TOKEN, "WhatsApp"),
                    requests=config.whatsapp_requests,
                    per_second=config.whatsapp_per_second,
                )


def _need(values: Mapping[str, str | None], name: str, channel: str) -> str:
    value = (values.get(name) or "").strip()
    if not value:
        how = f"set {name} in the environment or with `callboard tenant set SLUG {name}`"
        raise NotConfigured(f"{channel} cannot send: {name} is not set; {how}", setting=name)
    return value
