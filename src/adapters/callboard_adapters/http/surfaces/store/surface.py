"""The store surface: its routes, its way in, its way to say no, its browsers."""

from __future__ import annotations

import re

from callboard.tenants.model import Surface as SurfaceName
from callboard_adapters.http.auth import Authenticator, authentication
from callboard_adapters.http.container import HttpConfig, Services
from callboard_adapters.http.idempotency import idempotency
from callboard_adapters.http.ratelimit import RateLimiter
from callboard_adapters.http.surface import CorsPolicy, Surface
from callboard_adapters.http.surfaces.store.errors import render
from callboard_adapters.http.surfaces.store.routes import audiences, automations, campaigns, contacts, public, shop
from callboard_adapters.http.surfaces.store.wire.common import ErrorOut
from callboard_adapters.http.webhooks.shopify import shopify_webhook
from callboard_adapters.http.webhooks.sms import sms_delivery, sms_inbound
from callboard_adapters.http.webhooks.whatsapp import whatsapp_check, whatsapp_notification

DOCUMENTED_ORIGINS = frozenset(
    {
        "https://astronote.onrender.com",
        "https://admin.shopify.com",
        "https://astronote-shopify-frontend.onrender.com",
    }
)
SHOPS = re.compile(r"https://[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.myshopify\.com")
"""``*.myshopify.com`` as exactly one label."""


def store_surface(
    services: Services, config: HttpConfig, *, authenticator: Authenticator, limiter: RateLimiter
) -> Surface:
    """contracts/store.md, served."""
    return Surface(
        name=SurfaceName.STORE.value,
        title="Store",
        handlers=[
            campaigns.router,
            contacts.router,
            audiences.router,
            automations.router,
            shop.router,
            public.router,
            sms_delivery,
            sms_inbound,
            shopify_webhook,
            whatsapp_check,
            whatsapp_notification,
        ],
        middleware=[
            authentication(SurfaceName.STORE, authenticator, limiter),
            idempotency(services.idempotency),
        ],
        render=render,
        problem=ErrorOut,
        cors=CorsPolicy(
            origins=DOCUMENTED_ORIGINS | frozenset(origin.rstrip("/") for origin in config.allowed_origins),
            patterns=(SHOPS,),
            request_headers=(
                "Authorization",
                "Content-Type",
                "Accept",
                "Idempotency-Key",
                "X-Shopify-Shop-Domain",
                "X-Request-ID",
                "X-Correlation-Id",
            ),
        ),
    )
