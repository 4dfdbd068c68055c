"""Automations, templates, settings and shop events on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import attrs
from msgspec import UNSET, Meta, UnsetType, field

from callboard.automations.model import Automation, TextTemplate, Trigger
from callboard.errors import InvalidInput
from callboard.ids import ContactId
from callboard_adapters.http.surfaces.store.wire.common import Camel

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(min_length=1, max_length=1600)]
StatusWord = Literal["active", "inactive", "paused", "enabled", "disabled"]


class AutomationIn(Camel):
    """``POST /automations``; ``trigger`` = ``triggerType``, ``isActive`` = ``active``."""

    name: Name
    message: Text
    trigger_type: Trigger | UnsetType = UNSET
    trigger: Trigger | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


class AutomationPatch(Camel):
    """``PUT /automations/:id``: what is there changes."""

    name: Name | UnsetType = UNSET
    message: Text | UnsetType = UNSET
    trigger_type: Trigger | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    status: StatusWord | UnsetType = UNSET


class AutomationStatusIn(Camel):
    """``PUT /automations/:id/status``: any of the three spellings."""

    active: bool | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    status: StatusWord | UnsetType = UNSET


class AutomationOut(Camel):
    """An automation; ``trigger`` is ``triggerType``, ``isActive`` is ``active``, ``status`` the same in a word."""

    id: str
    name: str
    trigger_type: Trigger
    trigger: Trigger
    message: str
    active: bool
    is_active: bool
    status: Literal["active", "paused"]
    created_at: datetime
    updated_at: datetime


class AutomationsOut(Camel):
    """All automations; ``items`` is ``automations``."""

    automations: list[AutomationOut]
    items: list[AutomationOut]
    total: int


class TemplateOut(Camel):
    """A ready-made text, three times under the names clients look for."""

    id: str
    name: str
    category: str
    message: str
    content: str
    text: str
    created_at: datetime
    updated_at: datetime


class TemplatesOut(Camel):
    """All templates; ``items`` is ``templates``."""

    templates: list[TemplateOut]
    items: list[TemplateOut]
    total: int


class EventContact(Camel):
    """Whom an event is about."""

    id: Annotated[str, Meta(max_length=64)] | None = None
    phone: Annotated[str, Meta(max_length=200)] | None = None
    phone_e164: Annotated[str, Meta(max_length=200)] | None = None
    email: Annotated[str, Meta(max_length=254)] | None = None


class EventIn(Camel):
    """``POST /events``: ``contact``, ``phone`` or ``email`` says whom; ``id`` makes it idempotent."""

    type: Annotated[str, Meta(min_length=1, max_length=64)]
    contact: EventContact | Annotated[str, Meta(max_length=254)] | None = None
    phone: Annotated[str, Meta(max_length=200)] | None = None
    email: Annotated[str, Meta(max_length=254)] | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    occurred_at: Annotated[datetime, Meta(tz=True)] | None = None
    id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class EventOut(Camel):
    """Whether the event was news; the same ``id`` again is not."""

    id: str
    type: str
    accepted: bool
    duplicate: bool


@attrs.frozen(kw_only=True)
class Whom:
    """The person an event is about; at least one is there."""

    contact: ContactId | None
    phone: str | None
    email: str | None


def wanted_state(body: AutomationIn | AutomationPatch | AutomationStatusIn) -> bool | None:
    """On, off or not said; the first spelling that is there counts."""
    for value in (body.active, body.is_active):
        if not isinstance(value, UnsetType):
            return value
    word = UNSET if isinstance(body, AutomationIn) else body.status
    return None if isinstance(word, UnsetType) else word in {"active", "enabled"}


def require_state(body: AutomationStatusIn) -> None:
    """A toggle that says nothing is refused."""
    if wanted_state(body) is None:
        raise InvalidInput("Give active, isActive or status", field="active")


def wanted_trigger(body: AutomationIn) -> Trigger:
    """The trigger under either name; it is required."""
    for value in (body.trigger_type, body.trigger):
        if not isinstance(value, UnsetType):
            return value
    raise InvalidInput("Required", field="triggerType")


def automation_out(automation: Automation) -> AutomationOut:
    """An automation as this surface prints it."""
    return AutomationOut(
        id=str(automation.id),
        name=automation.name,
        trigger_type=automation.trigger,
        trigger=automation.trigger,
        message=automation.message,
        active=automation.active,
        is_active=automation.active,
        status="active" if automation.active else "paused",
        created_at=automation.created_at,
        updated_at=automation.updated_at,
    )


def template_out(template: TextTemplate) -> TemplateOut:
    """A template as this surface prints it."""
    return TemplateOut(
        id=str(template.id),
        name=template.name,
        category=template.category,
        message=template.message,
        content=template.message,
        text=template.message,
        created_at=template.created_at,
        updated_at=template.updated_at,
    )
