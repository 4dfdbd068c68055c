"""From frozen content and a candidate to what a provider carries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from tests.unit.messages.shop import hex_id

from callboard.clock import at_local_time
from callboard.contacts.model import Consent
from callboard.ids import ContactId, RunId, TenantId
from callboard.messages.model import (
    Candidate,
    Content,
    Priority,
    Purpose,
    Run,
    RunState,
    WhatsAppTemplate,
)
from callboard.messages.render import Renderer
from callboard.tenants.model import Channel

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ASHA = Candidate(
    seq=4,
    contact_id=ContactId(hex_id(7)),
    phone="+919876543210",
    first_name="Asha",
    last_name=None,
    attempt=0,
    queued_at=NOW,
    consent=Consent.OPTED_IN,
    suppressed=False,
)


def renderer(text: str = "Hi {{firstName}}", purpose: Purpose = Purpose.MARKETING, **content: Any) -> Renderer:
    frozen: dict[str, Any] = {"unsubscribe_base": "https://u.example/", "values": {"shopName": "Shop"}, **content}
    run = Run(
        id=RunId(hex_id(9)),
        tenant_id=TenantId(hex_id(1)),
        campaign_id=None,
        number=1,
        state=RunState.OPEN,
        purpose=purpose,
        priority=Priority.NORMAL,
        content=Content(channel=Channel.SMS, text=text, **frozen),
        recipients=1,
        created_at=NOW,
    )
    return Renderer.of(run, lambda contact: f"token-{contact.int}")


def test_the_reference_is_the_message_and_the_text_is_personal() -> None:
    message, missing = renderer().render(ASHA)
    assert str(message.reference) == f"{hex_id(9).hex}.4"
    assert message.text == "Hi Asha\nUnsubscribe: https://u.example/token-7"
    assert missing == ()


@pytest.mark.parametrize("where", [{"unsubscribe_base": None}, {"unsubscribe_base": ""}])
def test_a_marketing_message_never_leaves_without_its_unsubscribe_link(where: dict[str, Any]) -> None:
    assert renderer(**where).render(ASHA)[1] == ("unsubscribeUrl",)
    assert renderer().render(attrs.evolve(ASHA, contact_id=None))[1] == ("unsubscribeUrl",)


def test_a_transactional_message_carries_none_and_needs_none() -> None:
    message, missing = renderer(purpose=Purpose.TRANSACTIONAL, unsubscribe_base=None).render(ASHA)
    assert (message.text, missing) == ("Hi Asha", ())


def test_a_text_of_which_nothing_is_left_is_not_sent() -> None:
    nobody = attrs.evolve(ASHA, first_name=None)
    assert renderer("{{firstName}}").render(nobody)[1] == ("text",)
    assert renderer("{{firstName}}").render(ASHA)[1] == ()
    assert renderer("Hi {{firstName}}").render(nobody)[1] == ()
    assert renderer("{{firstName}} {{unsubscribeUrl}}").render(nobody)[1] == ("text",)


def test_template_parameters_are_rendered_in_order_and_an_empty_one_is_missing() -> None:
    template = WhatsAppTemplate(
        name="sale", language="en", body=("{{firstName}}", "{{discount}}"), button_suffix="{{unsubscribeUrl}}"
    )
    message, missing = renderer(template=template, values={"discount": "S20"}).render(ASHA)
    assert message.parameters == ("Asha", "S20")
    assert message.button_suffix == "https://u.example/token-7"
    assert missing == ()
    assert renderer(template=template).render(ASHA)[1] == ("2",)


@pytest.mark.parametrize(
    ("wall", "zone", "utc"),
    [
        (datetime(2026, 7, 1, 12, 0), "Asia/Kolkata", datetime(2026, 7, 1, 6, 30, tzinfo=UTC)),
        (datetime(2026, 3, 29, 2, 30), "Europe/Berlin", datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
        (datetime(2026, 10, 25, 2, 30), "Europe/Berlin", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (datetime(2026, 10, 4, 2, 15), "Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
        (datetime(2011, 12, 30, 9, 0), "Pacific/Apia", datetime(2011, 12, 30, 10, 0, tzinfo=UTC)),
    ],
)
def test_local_times_that_do_not_exist_or_exist_twice(wall: datetime, zone: str, utc: datetime) -> None:
    assert at_local_time(wall, zone) == utc
