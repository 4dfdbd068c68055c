"""The store's routes as data: the contract's table, with bodies that make each of them work."""

from __future__ import annotations

from typing import Any

import attrs
from tests.integration.http.shop import World, in_days


@attrs.frozen(kw_only=True)
class Route:
    """One documented route. ``handler`` is the operation that must answer; ``{x}`` in the path and ``body`` are ids."""

    method: str
    path: str
    handler: str
    body: Any = None
    public: bool = False

    @property
    def needs(self) -> str | None:
        """Which kind of object the path names."""
        return next(
            (kind for kind in ("campaign", "contact", "segment", "automation") if f"{{{kind}}}" in self.path), None
        )

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


ROUTES = [
    Route(method="GET", path="/dashboard", handler="Dashboard"),
    Route(method="GET", path="/campaigns", handler="ListCampaigns"),
    Route(
        method="POST",
        path="/campaigns",
        handler="CreateCampaign",
        body={"name": "N", "message": "M", "audience": "all"},
    ),
    Route(method="GET", path="/campaigns/stats/summary", handler="StatsSummary"),
    Route(method="GET", path="/campaigns/{campaign}", handler="GetCampaign"),
    Route(method="PUT", path="/campaigns/{campaign}", handler="UpdateCampaign", body={"name": "Other"}),
    Route(method="DELETE", path="/campaigns/{campaign}", handler="DeleteCampaign"),
    Route(method="POST", path="/campaigns/{campaign}/enqueue", handler="Enqueue"),
    Route(method="PUT", path="/campaigns/{campaign}/schedule", handler="Schedule", body={"scheduleAt": in_days(2)}),
    Route(method="POST", path="/campaigns/{campaign}/pause", handler="Pause"),
    Route(method="POST", path="/campaigns/{campaign}/resume", handler="Resume"),
    Route(method="POST", path="/campaigns/{campaign}/cancel", handler="Cancel"),
    Route(method="POST", path="/campaigns/{campaign}/retry-failed", handler="RetryFailed"),
    Route(method="GET", path="/campaigns/{campaign}/metrics", handler="Metrics"),
    Route(method="GET", path="/campaigns/{campaign}/status", handler="CampaignStatus"),
    Route(method="GET", path="/campaigns/{campaign}/progress", handler="CampaignProgress"),
    Route(method="GET", path="/campaigns/{campaign}/preview", handler="Preview"),
    Route(method="GET", path="/campaigns/{campaign}/failed-recipients", handler="FailedRecipients"),
    Route(method="GET", path="/campaigns/{campaign}/runs", handler="Runs"),
    Route(method="GET", path="/contacts", handler="ListContacts"),
    Route(method="POST", path="/contacts", handler="CreateContact", body={"phoneE164": "+919812300000"}),
    Route(
        method="POST", path="/contacts/import", handler="ImportContacts", body={"contacts": [{"phone": "9812300001"}]}
    ),
    Route(method="GET", path="/contacts/{contact}", handler="GetContact"),
    Route(method="PUT", path="/contacts/{contact}", handler="UpdateContact", body={"firstName": "X"}),
    Route(method="DELETE", path="/contacts/{contact}", handler="DeleteContact"),
    Route(method="GET", path="/audiences/segments", handler="ListSegments"),
    Route(
        method="POST",
        path="/audiences/segments",
        handler="CreateSegment",
        body={"name": "S", "criteria": {"gender": "male"}},
    ),
    Route(method="GET", path="/audiences/segments/{segment}", handler="GetSegment"),
    Route(method="PUT", path="/audiences/segments/{segment}", handler="UpdateSegment", body={"name": "T"}),
    Route(method="DELETE", path="/audiences/segments/{segment}", handler="DeleteSegment"),
    Route(method="GET", path="/audiences/segments/{segment}/preview", handler="PreviewSegment"),
    Route(method="GET", path="/audiences/segments/{segment}/members", handler="ListMembers"),
    Route(
        method="POST",
        path="/audiences/segments/{segment}/members",
        handler="AddMembers",
        body={"contactIds": ["{contact}"]},
    ),
    Route(
        method="DELETE",
        path="/audiences/segments/{segment}/members",
        handler="RemoveMembers",
        body={"contactIds": ["{contact}"]},
    ),
    Route(method="GET", path="/automations", handler="ListAutomations"),
    Route(
        method="POST",
        path="/automations",
        handler="CreateAutomation",
        body={"name": "A", "triggerType": "welcome", "message": "Hi"},
    ),
    Route(method="GET", path="/automations/{automation}", handler="GetAutomation"),
    Route(method="PUT", path="/automations/{automation}", handler="UpdateAutomation", body={"active": False}),
    Route(method="PUT", path="/automations/{automation}/status", handler="ToggleAutomation", body={"isActive": True}),
    Route(method="DELETE", path="/automations/{automation}", handler="DeleteAutomation"),
    Route(method="GET", path="/templates", handler="ListTemplates"),
    Route(method="GET", path="/settings", handler="GetSettings"),
    Route(method="PUT", path="/settings", handler="PutSettings", body={"shopName": "X"}),
    Route(method="POST", path="/events", handler="RecordEvent", body={"type": "order_placed", "email": "a@b.example"}),
    Route(method="GET", path="/r/{token}", handler="FollowLink", public=True),
    Route(method="GET", path="/unsubscribe/{token}", handler="AskUnsubscribe", public=True),
    Route(method="POST", path="/unsubscribe/{token}", handler="Unsubscribe", public=True),
    Route(method="POST", path="/webhooks/sms/delivery", handler="SmsDelivery", public=True),
    Route(method="POST", path="/webhooks/sms/inbound", handler="SmsInbound", public=True),
    Route(method="POST", path="/webhooks/shopify", handler="ShopifyWebhook", public=True),
    Route(method="GET", path="/webhooks/whatsapp", handler="WhatsappCheck", public=True),
    Route(method="POST", path="/webhooks/whatsapp", handler="WhatsappNotification", public=True),
]
PRIVATE = [route for route in ROUTES if not route.public]
NIL = "00000000-0000-0000-0000-000000000000"
STRANGER = "0198c0de-0000-7000-8000-00000000dead"


def fill(value: Any, ids: dict[str, str]) -> Any:
    """Put ids in the place of ``{kind}``."""
    match value:
        case str():
            for kind, text in ids.items():
                value = value.replace(f"{{{kind}}}", text)
            return value
        case dict():
            return {key: fill(item, ids) for key, item in value.items()}
        case list():
            return [fill(item, ids) for item in value]
    return value


async def objects(world: World, shop: Any) -> dict[str, str]:
    """One object of each kind in a shop."""
    contact = await shop.contact("+919811111111", first_name="Ann")
    campaign = await world.data(
        "POST", "/campaigns", shop=shop, status=201, json={"name": "C", "message": "M", "audience": "all"}
    )
    segment = await world.data(
        "POST", "/audiences/segments", shop=shop, status=201, json={"name": "L", "contactIds": [str(contact.id)]}
    )
    automation = await world.data(
        "POST", "/automations", shop=shop, status=201, json={"name": "A", "triggerType": "welcome", "message": "Hi"}
    )
    return {
        "contact": str(contact.id),
        "campaign": campaign["id"],
        "segment": segment["id"],
        "automation": automation["id"],
        "token": "unknowntoken",
    }
