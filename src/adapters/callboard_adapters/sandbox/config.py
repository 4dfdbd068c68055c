"""What a twin is told at its start and by ``POST /_control/config``: the same shapes for both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Milliseconds = Annotated[float, Meta(ge=0, le=86_400_000)]


class CallbackConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How status callbacks are sent. ``delay_ms`` is the wait before the first, second, … status of a message (the last
    value repeats); a POST carries up to ``batch`` statuses collected in ``window_ms``.

    ``drop`` and ``duplicate`` are shares of statuses never sent and of POSTs sent twice; ``reorder`` turns the order of
    a message's statuses round; ``before_answer`` posts the first status before the send is answered.
    ``parallel`` bounds the POSTs under way and is read at the start only.
    """

    delay_ms: tuple[Milliseconds, ...] = (100, 200, 400)
    batch: Annotated[int, Meta(ge=1, le=1000)] = 500
    window_ms: Annotated[float, Meta(ge=1, le=60_000)] = 50
    parallel: Annotated[int, Meta(ge=1, le=64)] = 4
    drop: Share = 0.0
    duplicate: Share = 0.0
    reorder: bool = False
    before_answer: bool = False
    retry_ms: tuple[Milliseconds, ...] = (200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000)


class MittoConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``keys`` that are accepted; none listed means any non-empty key. ``per_second`` 0 is unlimited.

    ``secret`` signs callbacks; None means: with the API key the message was sent with.
    """

    delivery_url: str | None = None
    inbound_url: str | None = None
    secret: str | None = None
    keys: tuple[str, ...] = ()
    per_second: Annotated[float, Meta(ge=0)] = 0.0
    bulk_limit: Annotated[int, Meta(ge=1)] = 1000
    callbacks: CallbackConfig = CallbackConfig()


class NumberConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One business number. What is None falls back to the provider's own values."""

    token: str | None = None
    display: str = "15550100000"
    webhook_url: str | None = None
    app_secret: str | None = None


class TemplateConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A template: how many body parameters it takes, its header format, whether its first button takes one."""

    name: str
    language: str = "en"
    category: Literal["MARKETING", "UTILITY", "AUTHENTICATION"] = "MARKETING"
    status: Literal["APPROVED", "PENDING", "REJECTED", "PAUSED", "DISABLED"] = "APPROVED"
    body: Annotated[int, Meta(ge=0, le=50)] = 0
    header: Literal["TEXT", "IMAGE", "VIDEO", "DOCUMENT", "LOCATION"] | None = None
    header_parameters: Annotated[int, Meta(ge=0, le=1)] = 0
    button: bool = False


TEMPLATES: tuple[TemplateConfig, ...] = (
    TemplateConfig(name="hello_world", language="en_US", category="UTILITY"),
    TemplateConfig(name="otp_login", category="AUTHENTICATION", body=1, button=True),
    TemplateConfig(name="otp_password_reset", category="AUTHENTICATION", body=1, button=True),
    TemplateConfig(name="otp_purchase", category="UTILITY", body=2),
    TemplateConfig(name="order_update", category="UTILITY", body=2, button=True),
    TemplateConfig(name="cart_reminder", body=3, button=True),
    TemplateConfig(name="new_product", body=2, header="IMAGE", button=True),
    TemplateConfig(name="campaign_text", body=1),
)
"""Approved from the start, besides those registered through the templates API or the control API."""


class WhatsAppConfig(msgspec.Struct, frozen=True, kw_only=True):
    """No ``numbers`` means: any phone number id with any bearer. ``per_second``: one number's throughput, 0 unlimited.

    ``pair_limit`` is the bucket of 45 messages for one recipient, refilled one per 6 s.

    ``window`` says what a free text outside the 24 h window gets: an error at once, or acceptance and a failed status.
    """

    webhook_url: str | None = None
    app_secret: str = "sandbox-app-secret"
    numbers: Mapping[str, NumberConfig] = {}
    templates: tuple[TemplateConfig, ...] = TEMPLATES
    any_template: bool = False
    per_second: Annotated[float, Meta(ge=0)] = 1000.0
    pair_limit: bool = True
    window: Literal["answer", "status", "off"] = "status"
    read_share: Share = 1.0
    callbacks: CallbackConfig = CallbackConfig()


class SandboxConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The whole twin. ``journal`` ``counts`` keeps numbers only, for long runs; ``magic`` makes the suffixes work."""

    seed: int = 1
    journal: Literal["full", "counts"] = "full"
    magic: bool = True
    sms: MittoConfig = MittoConfig()
    whatsapp: WhatsAppConfig = WhatsAppConfig()


T = TypeVar("T", bound=msgspec.Struct)


def patched(config: T, patch: Mapping[str, Any]) -> T:
    """The configuration with the given keys replaced, objects key by key; bad values: ``msgspec.ValidationError``."""
    unknown = set(patch) - set(config.__struct_fields__)
    if unknown:
        raise msgspec.ValidationError(f"Unknown setting: {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {}
    for name, value in patch.items():
        old = getattr(config, name)
        if isinstance(old, msgspec.Struct) and isinstance(value, Mapping):
            values[name] = patched(old, value)
        else:
            values[name] = value
    for name in set(config.__struct_fields__) - set(values):
        values[name] = getattr(config, name)
    raw = msgspec.to_builtins(values, builtin_types=())
    return msgspec.convert(raw, type(config))
