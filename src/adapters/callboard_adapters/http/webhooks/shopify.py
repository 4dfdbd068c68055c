"""``/webhooks/shopify``: what happens in a Shopify shop, kept as events; providers.md section 8."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency

from callboard.automations.rules import TOPICS
from callboard.errors import InvalidInput
from callboard.ids import TenantId
from callboard.values import parse_phone
from callboard_adapters.http.container import Services
from callboard_adapters.http.webhooks.common import (
    CALLBACK_LIMIT,
    PUBLIC,
    bad_signature,
    matching,
    raw_header,
    unreadable,
)
from callboard_adapters.webhooks.owners import Owners

Core = NamedDependency[Services]

_SECRET = "SHOPIFY_WEBHOOK_SECRET"
_DOMAIN = "SHOPIFY_SHOP_DOMAIN"
_SHOP = re.compile(rb"[a-zA-Z0-9][a-zA-Z0-9-]*\.myshopify\.com")
_KEPT = ("id", "name", "order_number", "total_price", "currency", "status", "financial_status", "fulfillment_status")


@post("/webhooks/shopify", status_code=200, opt=PUBLIC, request_max_body_size=CALLBACK_LIMIT, security=[{}])
async def shopify_webhook(request: Request[Any, Any, Any], services: Core) -> dict[str, bool]:
    """One event, kept once however often Shopify sends it; topics we do not know are ignored."""
    body = await request.body()
    tenant_id = await signer(request, body, services.owners)
    payload = read_payload(body)
    topic = (raw_header(request, "X-Shopify-Topic") or b"").decode("latin-1").lower()
    if topic not in TOPICS:
        return {"success": True}
    tenant = await services.tenants.get(tenant_id)
    phone, email = whom(payload, tenant.region)
    for properties in (payload, {key: payload[key] for key in _KEPT if key in payload}, {}):
        try:
            await services.events.record(
                tenant.id,
                type=topic,
                source="shopify",
                phone=phone,
                email=email,
                properties=properties,
                occurred_at=happened(payload, services.clock.now()),
                external_id=hashlib.sha256(topic.encode() + b"\n" + body).hexdigest(),
            )
        except InvalidInput as error:
            if error.field != "properties":
                raise
        else:
            break
    return {"success": True}


async def signer(request: Request[Any, Any, Any], body: bytes, owners: Owners) -> TenantId:
    """The tenant whose secret signs the body; where several share one, its shop domain says which. Else 401."""
    given = raw_header(request, "X-Shopify-Hmac-Sha256") or b""
    secrets = await owners.holding(_SECRET)
    fitting = await matching(secrets.values(), body, lambda secret: hmac.compare_digest(given, sign(body, secret)))
    good = {tenant for tenant, secret in secrets.items() if secret in fitting}
    if len(good) > 1:
        domain = raw_header(request, "X-Shopify-Shop-Domain") or b""
        domains = await owners.holding(_DOMAIN)
        named = domain.decode().lower() if _SHOP.fullmatch(domain) else ""
        good = {tenant for tenant in good if named and domains.get(tenant, "").lower() == named}
    if len(good) != 1:
        raise bad_signature()
    return good.pop()


def sign(body: bytes, secret: str) -> bytes:
    """Base64 of HMAC-SHA256 over the raw body."""
    return base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256))


def read_payload(body: bytes) -> dict[str, Any]:
    """The JSON object of a body with a good signature."""
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise unreadable() from None
    if not isinstance(payload, dict):
        raise unreadable()
    return payload


def whom(payload: Mapping[str, Any], region: str) -> tuple[str | None, str | None]:
    """Phone (E.164) and email of the customer, wherever the topic puts them; unreadable ones are none."""
    nested = [payload.get(key) for key in ("customer", "shipping_address", "billing_address", "default_address")]
    places = [payload, *(place for place in nested if isinstance(place, dict))]
    phone = None
    for place in places:
        text = place.get("phone")
        if isinstance(text, str) and text:
            try:
                phone = parse_phone(text, region).e164
            except InvalidInput:
                continue
            break
    emails = [place.get("email") for place in places]
    email = next((text for text in emails if isinstance(text, str) and "@" in text and len(text) <= 254), None)
    return phone, email if email is None or email.isprintable() else None


def happened(payload: Mapping[str, Any], now: datetime) -> datetime:
    """When it happened by the shop's clock; ``now`` when that is missing, odd or in the future."""
    for key in ("updated_at", "created_at"):
        text = payload.get(key)
        if isinstance(text, str):
            try:
                at = datetime.fromisoformat(text)
                at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
            except (ValueError, OverflowError):
                continue
            return at if at.year >= 2000 and at <= now else now
    return now
