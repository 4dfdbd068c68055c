"""``/webhooks/sms``: delivery reports and customers' texts; contracts/README.md section 4, providers.md section 7."""

from __future__ import annotations

from typing import Any

import attrs
from litestar import Request, post
from litestar.di import NamedDependency
from msgspec import Struct

from callboard.contacts.model import ConsentSource
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
from callboard_adapters.sms import wire
from callboard_adapters.webhooks.calls import WebhookCall
from callboard_adapters.webhooks.owners import Owners
from callboard_adapters.webhooks.receipts import Delivery

Core = NamedDependency[Services]

_SECRETS = ("CALLBOARD_SMS_WEBHOOK_SECRET", "CALLBOARD_SMS_API_KEY")
_SENDER = "CALLBOARD_SMS_SENDER"
_OWN_SENDER = "senderName"
_STOP = frozenset(["stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"])
_START = frozenset(["start", "unstop"])


class Received(Struct, kw_only=True, frozen=True):
    """What a provider is told."""

    success: bool = True
    received: int


@post("/webhooks/sms/delivery", status_code=202, opt=PUBLIC, request_max_body_size=CALLBACK_LIMIT, security=[{}])
async def sms_delivery(request: Request[Any, Any, Any], services: Core) -> Received:
    """One delivery report or many; answered when they are durable. Unknown message ids are parked."""
    body = await request.body()
    tenants = await signers(request, body, services.owners)
    now = services.clock.now()
    reports = wire.reports(body, now=now)
    if reports is None:
        raise unreadable()
    receipts = tuple(attrs.evolve(receipt, tenants=tenants) for receipt in reports.receipts)
    call = WebhookCall(
        tenant_id=next(iter(tenants)) if len(tenants) == 1 else None,
        provider=wire.PROVIDER,
        verdict="applied" if receipts else "ignored",
        body=body,
        received_at=now,
    )
    await services.receipts.take(Delivery(receipts=receipts, call=call))
    return Received(received=len(receipts))


@post("/webhooks/sms/inbound", status_code=202, opt=PUBLIC, request_max_body_size=CALLBACK_LIMIT, security=[{}])
async def sms_inbound(request: Request[Any, Any, Any], services: Core) -> Received:
    """Customers' texts: a STOP word opts the number out for the tenant that was addressed, START opens it again."""
    body = await request.body()
    tenants = await signers(request, body, services.owners)
    texts = wire.inbound(body)
    if texts is None:
        raise unreadable()
    for text in texts:
        word = wish(text.text)
        if word is not None:
            for tenant in await addressed(text.to, tenants, services.owners):
                await _obey(services, tenant, text.from_number, stop=word)
    return Received(received=len(texts))


async def signers(request: Request[Any, Any, Any], body: bytes, owners: Owners) -> frozenset[TenantId]:
    """The tenants whose secret signs the body; 401 when there is none. The API key is the secret where none is set."""
    signatures = [raw_header(request, name) for name in ("X-Webhook-Signature", "X-Mitto-Signature")]
    own, keys = [await owners.holding(name) for name in _SECRETS]
    secrets = {**keys, **own}
    good = await matching(secrets.values(), body, lambda secret: wire.signed(body, signatures, secret))
    if not good:
        raise bad_signature()
    return frozenset(tenant for tenant, secret in secrets.items() if secret in good)


def wish(text: str) -> bool | None:
    """True to stop, False to start, None for any other text. The whole text must be the word."""
    word = "".join(character for character in text.casefold() if character.isalnum())
    return True if word in _STOP else False if word in _START else None


async def addressed(to: str | None, tenants: frozenset[TenantId], owners: Owners) -> frozenset[TenantId]:
    """Which of the signers' tenants the sender ``to`` belongs to; a sole signer is meant when ``to`` is not said."""
    if to is None:
        return tenants if len(tenants) == 1 else frozenset()
    configured, chosen = [await owners.holding(name) for name in (_SENDER, _OWN_SENDER)]
    senders = {**configured, **chosen}
    wanted = _bare(to)
    return frozenset(tenant for tenant in tenants if _bare(senders.get(tenant, "")) == wanted)


def _bare(sender: str) -> str:
    return "".join(character for character in sender.casefold() if character.isalnum())


async def _obey(services: Services, tenant_id: TenantId, number: str, *, stop: bool) -> None:
    tenant = await services.tenants.get(tenant_id)
    try:
        phone = parse_phone(number if not number.isdigit() else f"+{number}", tenant.region).e164
    except InvalidInput:
        return
    change = services.contacts.opt_out if stop else services.contacts.opt_in
    await change(tenant.id, phone, source=ConsentSource.INBOUND, evidence="sms")
