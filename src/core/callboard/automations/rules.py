"""What an automation, a shop event and a built-in text may be; contracts/README.md section 4."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import attrs

from callboard.automations.model import Automation, ShopEvent, TextTemplate, Trigger
from callboard.errors import InvalidInput
from callboard.ids import AutomationId, Ids, TemplateId
from callboard.values import clean_text

MAX_NAME: Final = 200
MAX_MESSAGE: Final = 1_600
MAX_PROPERTIES: Final = 65_536
MAX_DEPTH: Final = 20

TEXTS: Final[tuple[tuple[str, str, str], ...]] = (
    ("Welcome Message", "welcome", "Hi {{firstName|there}}, welcome to {{shopName}}! Good to have you with us."),
    (
        "Abandoned Cart",
        "abandoned_cart",
        "Hi {{firstName|there}}, your cart at {{shopName}} is still here. Finish whenever it suits you.",
    ),
    (
        "Order Confirmation",
        "order_confirmation",
        "Thank you, {{firstName|friend}}! {{shopName}} has your order and is getting it ready.",
    ),
    ("Shipping Update", "shipping_update", "Hi {{firstName|there}}, your {{shopName}} order is on its way to you."),
    (
        "Delivery Confirmation",
        "delivery_confirmation",
        "Hi {{firstName|there}}, your {{shopName}} order has arrived. We hope you like it!",
    ),
    (
        "Review Request",
        "review_request",
        "Hi {{firstName|there}}, how was it? A short review helps other {{shopName}} customers a lot.",
    ),
    (
        "Reorder Reminder",
        "reorder_reminder",
        "Hi {{firstName|there}}, running low? {{shopName}} has your favourites in stock.",
    ),
    (
        "Birthday Greeting",
        "birthday",
        "Happy birthday, {{firstName|friend}}! {{shopName}} has a small present for you: {{discount|see our shop}}",
    ),
    (
        "We Miss You",
        "customer_inactive",
        "Hi {{firstName|there}}, it has been a while. See what is new at {{shopName}}. {{discount}}",
    ),
    ("Sale Announcement", "promotion", "{{shopName}} sale: save today with {{discount|our best prices}}."),
)
"""Name, category and text of the templates every tenant starts with."""

TOPICS: Final = frozenset(
    [
        "app/uninstalled",
        "carts/create",
        "carts/update",
        "checkouts/create",
        "checkouts/update",
        "checkouts/delete",
        "customers/create",
        "customers/update",
        "customers/delete",
        "customers/enable",
        "customers/disable",
        "customers/data_request",
        "customers/redact",
        "shop/redact",
        "fulfillments/create",
        "fulfillments/update",
        "fulfillment_events/create",
        "orders/create",
        "orders/updated",
        "orders/paid",
        "orders/fulfilled",
        "orders/partially_fulfilled",
        "orders/cancelled",
        "refunds/create",
        "products/create",
        "products/update",
    ]
)
"""Webhook topics of a shop that are kept besides our own triggers."""

_TRIGGERS: Final = {trigger.value: trigger for trigger in Trigger}
_EXTERNAL_ID: Final = re.compile(r"[\x20-\x7e]{1,255}")
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # the escape, not a text that spells it
_SOURCE: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def read_trigger(text: str) -> Trigger:
    """InvalidInput for ``triggerType`` when it is none of ours."""
    try:
        return _TRIGGERS[text]
    except KeyError:
        raise InvalidInput(f"Must be one of {', '.join(_TRIGGERS)}", field="triggerType") from None


def new_automation(
    *, automation_id: AutomationId, name: str, trigger: Trigger, message: str, active: bool, now: datetime
) -> Automation:
    """A well-formed automation."""
    return Automation(
        id=automation_id,
        name=clean_text(name, field="name", max_length=MAX_NAME, min_length=1),
        trigger=trigger,
        message=clean_text(message, field="message", max_length=MAX_MESSAGE, min_length=1),
        active=active,
        created_at=now,
        updated_at=now,
    )


def edit(
    automation: Automation,
    *,
    name: str | None,
    trigger: Trigger | None,
    message: str | None,
    active: bool | None,
    now: datetime,
) -> Automation:
    """The automation with what is given changed; itself when that changes nothing."""
    edited = attrs.evolve(
        automation,
        name=automation.name if name is None else clean_text(name, field="name", max_length=MAX_NAME, min_length=1),
        trigger=automation.trigger if trigger is None else trigger,
        message=automation.message
        if message is None
        else clean_text(message, field="message", max_length=MAX_MESSAGE, min_length=1),
        active=automation.active if active is None else active,
    )
    return automation if edited == automation else attrs.evolve(edited, updated_at=now)


def built_in(ids: Ids, now: datetime) -> list[TextTemplate]:
    """The texts of :data:`TEXTS` as templates."""
    return [
        TextTemplate(
            id=TemplateId(ids.new()), name=name, category=category, message=text, created_at=now, updated_at=now
        )
        for name, category, text in TEXTS
    ]


def shop_event(
    *,
    external_id: str,
    source: str,
    type: str,  # noqa: A002 - the word of the contract
    phone: str | None,
    email: str | None,
    properties: Mapping[str, object],
    occurred_at: datetime,
    now: datetime,
) -> ShopEvent:
    """A well-formed event: ``type`` is one of our triggers or a known shop topic. InvalidInput names the field."""
    if not _EXTERNAL_ID.fullmatch(external_id):
        raise InvalidInput("1 to 255 printable ASCII characters", field="id")
    if not _SOURCE.fullmatch(source):
        raise InvalidInput("Not a source", field="source")
    if type not in _TRIGGERS and type not in TOPICS:
        raise InvalidInput(f"Must be one of {', '.join(_TRIGGERS)}", field="type")
    if occurred_at.tzinfo is None:
        raise InvalidInput("Must say its time zone", field="occurredAt")
    return ShopEvent(
        external_id=external_id,
        source=source,
        type=type,
        contact_phone=phone,
        contact_email=None if email is None else clean_text(email, field="email", max_length=254),
        properties=_json(properties),
        occurred_at=occurred_at,
        received_at=now,
    )


def _json(properties: Mapping[str, object]) -> str:
    """The properties as JSON text, at most 64 KB; no NUL and no lone surrogate, which PostgreSQL would refuse."""
    try:
        text = json.dumps(properties, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError):
        raise InvalidInput("Must be a JSON object", field="properties") from None
    if size > MAX_PROPERTIES:
        raise InvalidInput(f"At most {MAX_PROPERTIES:,} bytes", field="properties")
    if _NUL.search(text):
        raise InvalidInput("NUL characters are not allowed", field="properties")
    return text
