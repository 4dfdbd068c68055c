"""``/webhooks/whatsapp``: Meta's subscription check and notifications; providers.md sections 1.6 to 1.8."""

from __future__ import annotations

import hmac
from typing import Any

import attrs
from litestar import Request, Response, get, post
from litestar.di import NamedDependency

from callboard.contacts.model import ConsentSource
from callboard.errors import InvalidInput
from callboard.ids import TenantId
from callboard.values import parse_phone
from callboard_adapters.http.container import Services
from callboard_adapters.http.webhooks.common import CALLBACK_LIMIT, PUBLIC, bad_signature, raw_header, unreadable
from callboard_adapters.http.webhooks.sms import wish
from callboard_adapters.webhooks.calls import WebhookCall
from callboard_adapters.webhooks.owners import Owners
from callboard_adapters.webhooks.receipts import Delivery
from callboard_adapters.whatsapp import wire

Core = NamedDependency[Services]

_VERIFY = ("WHATSAPP_VERIFY_TOKEN", "WHATSAPP_WEBHOOK_VERIFY_TOKEN")
_NUMBERS = (
    ("WHATSAPP_PHONE_NUMBER_ID", "WHATSAPP_APP_SECRET"),
    ("WHATSAPP_MARKETING_PHONE_NUMBER_ID", "WHATSAPP_MARKETING_APP_SECRET"),
)


@get("/webhooks/whatsapp", opt=PUBLIC, security=[{}])
async def whatsapp_check(request: Request[Any, Any, Any], services: Core) -> Response[str]:
    """Meta's subscription check: the challenge, exactly, for a known verify token; else 403 without a body."""
    query = request.query_params
    token = query.get("hub.verify_token", "").encode("utf-8", "surrogateescape")
    known = [value for name in _VERIFY for value in (await services.owners.holding(name)).values()]
    good = [hmac.compare_digest(token, value.encode()) for value in known]
    if query.get("hub.mode") != "subscribe" or not any(good):
        return Response("", status_code=403, media_type="text/plain")
    return Response(query.get("hub.challenge", ""), media_type="text/plain")


@post("/webhooks/whatsapp", status_code=200, opt=PUBLIC, request_max_body_size=CALLBACK_LIMIT, security=[{}])
async def whatsapp_notification(request: Request[Any, Any, Any], services: Core) -> dict[str, str]:
    """Statuses are applied and opt-outs obeyed before the answer; numbers nobody owns are ignored."""
    body = await request.body()
    owners = await _signers(request, body, services.owners)
    if wire.decode(body) is None:
        raise unreadable()
    now = services.clock.now()
    updates = [(owners[u.phone_number_id], u) for u in wire.updates(body, now=now) if u.phone_number_id in owners]
    receipts = tuple(
        attrs.evolve(receipt, tenants=holders) for holders, update in updates for receipt in update.receipts
    )
    tenants = {tenant for holders, _ in updates for tenant in holders}
    call = WebhookCall(
        tenant_id=tenants.pop() if len(tenants) == 1 else None,
        provider=wire.PROVIDER,
        verdict="applied" if updates else "ignored",
        body=body,
        received_at=now,
    )
    await services.receipts.take(Delivery(receipts=receipts, call=call))
    for holders, update in updates:
        for number, stop in wishes(update):
            for tenant in holders:
                await _obey(services, tenant, number, stop=stop)
    return {"status": "ok"}


def wishes(update: wire.NumberUpdate) -> list[tuple[str, bool]]:
    """Who stops or resumes marketing: by preference, by a STOP word, by a tap whose payload or text says so."""
    found = [(preference.phone, preference.stopped) for preference in update.preferences]
    for message in update.inbound:
        said = wish(message.text)
        if said is None and message.payload is not None:
            said = wish(message.payload)
        if said is None and message.type == "button" and message.text.casefold().strip() == "stop promotions":
            said = True
        if said is not None and message.from_number is not None:
            found.append((message.from_number, said))
    return found


async def number_owners(owners: Owners) -> dict[str, dict[TenantId, str]]:
    """Phone number id → tenants that use it, each with the app secret of that number ("" when unset)."""
    found: dict[str, dict[TenantId, str]] = {}
    for number_name, secret_name in _NUMBERS:
        secrets = await owners.holding(secret_name)
        fallback = await owners.holding("WHATSAPP_APP_SECRET")
        for tenant, number in (await owners.holding(number_name)).items():
            found.setdefault(number, {})[tenant] = secrets.get(tenant) or fallback.get(tenant, "")
    return found


async def _signers(request: Request[Any, Any, Any], body: bytes, owners: Owners) -> dict[str, frozenset[TenantId]]:
    """Number → those of its tenants whose app secret signs the body.

    Every number of ours that the body names must be signed by its own app; a body about strangers (Meta's test button)
    by any app of ours. Else 401.
    """
    signature = raw_header(request, "X-Hub-Signature-256")
    ours = await number_owners(owners)
    named = {number: ours[number] for number in wire.numbers(body) if number in ours}
    good = {
        number: frozenset(tenant for tenant, secret in holders.items() if wire.signed(body, signature, [secret]))
        for number, holders in (named or ours).items()
    }
    if not any(good.values()) or (named and not all(good.values())):
        raise bad_signature()
    return good


async def _obey(services: Services, tenant_id: TenantId, number: str, *, stop: bool) -> None:
    tenant = await services.tenants.get(tenant_id)
    try:
        phone = parse_phone(f"+{number.lstrip('+')}", tenant.region).e164
    except InvalidInput:
        return
    change = services.contacts.opt_out if stop else services.contacts.opt_in
    await change(tenant.id, phone, source=ConsentSource.INBOUND, evidence="whatsapp")
