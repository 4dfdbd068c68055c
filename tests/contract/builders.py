"""Objects that contract tests put into a store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.contract.world import World

from callboard.automations.model import Automation, ShopEvent, TextTemplate, Trigger
from callboard.campaigns.model import Campaign, CampaignStatus, Everybody, Schedule
from callboard.ids import AutomationId, CampaignId, KeyId, SegmentId, TemplateId, TenantId
from callboard.links.model import Link
from callboard.messages.model import Priority
from callboard.segments.model import Segment, SegmentKind
from callboard.tenants.model import Credential, Surface


def a_campaign(world: World, **fields: Any) -> Campaign:
    """A draft to everybody."""
    campaign_id = CampaignId(world.ids.new())
    given: dict[str, Any] = {
        "id": campaign_id,
        "name": f"Sale {campaign_id}",
        "message": "Hello {{firstName}},\nnew things!",
        "audience": Everybody(),
        "include_discount": False,
        "discount_value": None,
        "schedule": Schedule(),
        "priority": Priority.NORMAL,
        "template": None,
        "status": CampaignStatus.DRAFT,
        "status_reason": None,
        "current_run": None,
        "rounds": 0,
        "next_run_at": None,
        "created_at": world.now(),
        "updated_at": world.now(),
    }
    return Campaign(**(given | fields))


def a_segment(world: World, name: str = "VIPs", **fields: Any) -> Segment:
    """A custom segment that is its member list."""
    given: dict[str, Any] = {
        "id": SegmentId(world.ids.new()),
        "key": name.lower().replace(" ", "_"),
        "name": name,
        "kind": SegmentKind.CUSTOM,
        "criteria": None,
        "created_at": world.now(),
        "updated_at": world.now(),
    }
    return Segment(**(given | fields))


def a_credential(world: World, tenant: TenantId, digest: bytes, **fields: Any) -> Credential:
    """A key for the store."""
    given: dict[str, Any] = {
        "id": KeyId(world.ids.new()),
        "tenant_id": tenant,
        "label": "till",
        "prefix": "cb_ab12",
        "digest": digest,
        "surfaces": frozenset({Surface.STORE, Surface.CRM}),
        "scopes": frozenset({"contacts:read"}),
        "created_at": world.now(),
    }
    return Credential(**(given | fields))


def a_link(world: World, tenant: TenantId, campaign: CampaignId | None, **fields: Any) -> Link:
    """A short link that never ends."""
    given: dict[str, Any] = {
        "token": world.ids.token(),
        "tenant_id": tenant,
        "url": "https://shop.example/sale?x=1",
        "campaign_id": campaign,
        "created_at": world.now(),
    }
    return Link(**(given | fields))


def an_automation(world: World, name: str = "Welcome", **fields: Any) -> Automation:
    """An active one."""
    given: dict[str, Any] = {
        "id": AutomationId(world.ids.new()),
        "name": name,
        "trigger": Trigger.WELCOME,
        "message": "Hi {{firstName}}",
        "active": True,
        "created_at": world.now(),
        "updated_at": world.now(),
    }
    return Automation(**(given | fields))


def a_template(world: World, name: str, *, age: int = 0) -> TextTemplate:
    """A text made ``age`` hours ago."""
    made = world.now() - timedelta(hours=age)
    return TextTemplate(
        id=TemplateId(world.ids.new()),
        name=name,
        category="welcome",
        message="Welcome {{firstName}}!",
        created_at=made,
        updated_at=made,
    )


def a_shop_event(world: World, external_id: str, *, source: str = "api") -> ShopEvent:
    """An order."""
    return ShopEvent(
        external_id=external_id,
        source=source,
        type="order_placed",
        contact_phone="+919800000001",
        contact_email=None,
        properties='{"total": "2499.50"}',
        occurred_at=world.now(),
        received_at=world.now(),
    )
