"""A tenant's settings: one table of names with their form, default and meaning; contracts/README.md section 4.

Values are stored as text under these names. Unknown and read-only names are ignored, a bad value is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from callboard.errors import InvalidInput
from callboard.tenants.model import Channel, FrequencyCap, MessagingPolicy, QuietHours, Tenant
from callboard.values import clean_text

Printable = str | int | bool
_CURRENCIES: Final[Mapping[str, str]] = {"IN": "INR", "GB": "GBP", "US": "USD", "AE": "AED", "SG": "SGD", "AU": "AUD"}
_EURO: Final = frozenset(
    [
        "AT",
        "BE",
        "CY",
        "DE",
        "EE",
        "ES",
        "FI",
        "FR",
        "GR",
        "HR",
        "IE",
        "IT",
        "LT",
        "LU",
        "LV",
        "MT",
        "NL",
        "PT",
        "SI",
        "SK",
    ]
)
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
_TIME: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_SENDER: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 &._-]{1,11}|\+?[0-9]{3,15}")


def check_timezone(name: str) -> str:
    """A zone that the tz database knows."""
    if _ZONE.fullmatch(name):
        try:
            ZoneInfo(name)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            pass
        else:
            return name
    raise InvalidInput("Not a time zone such as Asia/Kolkata", field="timezone")


def _text(max_length: int, *, required: bool = False) -> Callable[[str, str], str]:
    def read(value: str, name: str) -> str:
        return clean_text(value, field=name, max_length=max_length, min_length=int(required))

    return read


def _whole(low: int, high: int) -> Callable[[str, str], str]:
    def read(value: str, name: str) -> str:
        if not (value.isascii() and value.isdigit() and len(value) <= 9 and low <= int(value) <= high):
            raise InvalidInput(f"Must be a whole number from {low} to {high}", field=name)
        return str(int(value))

    return read


def _clock_time(value: str, name: str) -> str:
    if value and not _TIME.fullmatch(value):
        raise InvalidInput("Must be a time HH:MM, or empty", field=name)
    return value


def _channel(value: str, name: str) -> str:
    if value.lower() not in tuple(Channel):
        raise InvalidInput("Must be sms or whatsapp", field=name)
    return value.lower()


def _zone(value: str, name: str) -> str:
    return check_timezone(value)


def _currency(value: str, name: str) -> str:
    if not (len(value) == 3 and value.isascii() and value.isalpha()):
        raise InvalidInput("Must be three letters such as INR", field=name)
    return value.upper()


def _sender(value: str, name: str) -> str:
    if value and not _SENDER.fullmatch(value):
        raise InvalidInput("Up to 11 letters and digits, or a number", field=name)
    return value


@attrs.frozen
class Setting:
    """How one setting is read from text, what it is when unset, and whether it is printed as a number."""

    read: Callable[[str, str], str]
    default: Callable[[Tenant], str]
    number: bool = False


def _constant(value: str) -> Callable[[Tenant], str]:
    return lambda _: value


SETTINGS: Final[Mapping[str, Setting]] = {
    "shopName": Setting(_text(100, required=True), lambda tenant: tenant.name),
    "senderName": Setting(_sender, _constant("")),
    "channel": Setting(_channel, _constant(Channel.SMS.value)),
    "timezone": Setting(_zone, lambda tenant: tenant.timezone),
    "currency": Setting(
        _currency, lambda tenant: "EUR" if tenant.region in _EURO else _CURRENCIES.get(tenant.region, "USD")
    ),
    "defaultDiscount": Setting(_text(50), _constant("")),
    "quietHoursStart": Setting(_clock_time, _constant("")),
    "quietHoursEnd": Setting(_clock_time, _constant("")),
    "frequencyCap": Setting(_whole(0, 1_000), _constant("0"), number=True),
    "frequencyCapHours": Setting(_whole(1, 720), _constant("24"), number=True),
}
"""Name → form. ``quietHours*`` act when both are set and differ; ``frequencyCap`` 0 means no cap; an empty
``senderName`` leaves the configured sender; ``defaultDiscount`` is ``{{discount}}`` where a campaign has none."""

SECRETS: Final = frozenset(
    [
        "CALLBOARD_SMS_API_KEY",
        "CALLBOARD_SMS_SENDER",
        "CALLBOARD_SMS_ACCOUNT_ID",
        "CALLBOARD_SMS_WEBHOOK_SECRET",
        "WHATSAPP_ACCESS_TOKEN",
        "WHATSAPP_PHONE_NUMBER_ID",
        "WHATSAPP_APP_SECRET",
        "WHATSAPP_VERIFY_TOKEN",
        "WHATSAPP_BUSINESS_ACCOUNT_ID",
        "WHATSAPP_MARKETING_PHONE_NUMBER_ID",
        "WHATSAPP_MARKETING_ACCESS_TOKEN",
        "ADMIN_API_KEY",
        "CHICX_API_KEY",
        "CHICX_WEBHOOK_SECRET",
        "CHICX_API_BASE_URL",
        "BOLNA_API_KEY",
        "BOLNA_AGENT_ID",
        "BOLNA_WEBHOOK_SECRET",
        "META_APP_SECRET",
        "META_ACCESS_TOKEN",
        "META_VERIFY_TOKEN",
        "META_AD_ACCOUNT_ID",
        "META_PAGE_ID",
        "GOOGLE_CLIENT_ID",
        "GOOGLE_CLIENT_SECRET",
        "GOOGLE_REDIRECT_URI",
        "BOOKING_APP_URL",
        "SHOPIFY_WEBHOOK_SECRET",
        "SHOPIFY_SHOP_DOMAIN",
    ]
)
"""Names of the encrypted settings: a provider's credentials, under the names the environment uses (design.md)."""


def read_changes(values: Mapping[str, object]) -> dict[str, str]:
    """What a partial update sets, as text. Strings are coerced (``"5"`` is 5), None empties a setting to its default
    only where the default is empty; unknown names are ignored.
    """
    changes: dict[str, str] = {}
    for name, value in values.items():
        setting = SETTINGS.get(name)
        if setting is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | None):
            raise InvalidInput("Must be a text or a number", field=name)
        text = "" if value is None else str(value) if isinstance(value, str) or abs(value) < 10**18 else "x"
        changes[name] = setting.read(text if name in _AS_GIVEN else text.strip(), name)
    return changes


_AS_GIVEN: Final = frozenset({"shopName", "defaultDiscount"})


def printable(tenant: Tenant, stored: Mapping[str, str]) -> dict[str, Printable]:
    """The flat object people see: every setting with a value that can be printed, and the read-only facts."""
    shown: dict[str, Printable] = {}
    for name, setting in SETTINGS.items():
        text = value_of(tenant, stored, name)
        shown[name] = int(text) if setting.number else text
    return {
        "shopId": str(tenant.id),
        "shopSlug": tenant.slug,
        "region": tenant.region,
        "createdAt": tenant.created_at.isoformat().replace("+00:00", "Z"),
        **shown,
    }


def value_of(tenant: Tenant, stored: Mapping[str, str], name: str) -> str:
    """One setting as it acts: what was stored, else its default. The zone is the tenant's own field."""
    if name == "timezone":
        return tenant.timezone
    found = stored.get(name)
    return SETTINGS[name].default(tenant) if found is None else found


def policy(tenant: Tenant, stored: Mapping[str, str]) -> MessagingPolicy:
    """What the settings say about sending."""
    start, end = (value_of(tenant, stored, name) for name in ("quietHoursStart", "quietHoursEnd"))
    limit = int(value_of(tenant, stored, "frequencyCap"))
    hours = int(value_of(tenant, stored, "frequencyCapHours"))
    quiet = QuietHours(start=time.fromisoformat(start), end=time.fromisoformat(end)) if start and end else None
    return MessagingPolicy(
        channel=Channel(value_of(tenant, stored, "channel")),
        quiet_hours=quiet if quiet is not None and quiet.start != quiet.end else None,
        frequency_cap=FrequencyCap(limit=limit, window=timedelta(hours=hours)) if limit else None,
        timezone=tenant.timezone,
    )
