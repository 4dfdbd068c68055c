"""An automation and the message templates a tenant may copy from."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import attrs

from callboard.ids import AutomationId, TemplateId


class Trigger(StrEnum):
    """What starts an automation; contracts/README.md section 4."""

    WELCOME = "welcome"
    ABANDONED_CART = "abandoned_cart"
    ORDER_PLACED = "order_placed"
    ORDER_CONFIRMATION = "order_confirmation"
    ORDER_FULFILLED = "order_fulfilled"
    SHIPPING_UPDATE = "shipping_update"
    DELIVERY_CONFIRMATION = "delivery_confirmation"
    REVIEW_REQUEST = "review_request"
    REORDER_REMINDER = "reorder_reminder"
    BIRTHDAY = "birthday"
    CUSTOMER_INACTIVE = "customer_inactive"


@attrs.frozen(kw_only=True)
class Automation:
    """One message behind one trigger."""

    id: AutomationId
    name: str
    trigger: Trigger
    message: str
    active: bool
    created_at: datetime
    updated_at: datetime


@attrs.frozen(kw_only=True)
class TextTemplate:
    """A ready-made text, read-only for the shop."""

    id: TemplateId
    name: str
    category: str
    message: str
    created_at: datetime
    updated_at: datetime


@attrs.frozen(kw_only=True)
class ShopEvent:
    """Something that happened in the shop, kept until automations take it; ``external_id`` is the sender's own id."""

    external_id: str
    source: str
    type: str
    contact_phone: str | None
    contact_email: str | None
    properties: str
    occurred_at: datetime
    received_at: datetime
