"""Meta's error table, message bodies, webhooks and signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.ids import MessageId, RunId
from callboard.messages.model import Content, Fact, Reason, WhatsAppTemplate
from callboard.messages.ports import Ambiguous, NotSent, Outbound, Refused, SenderBlocked
from callboard.tenants.model import Channel
from callboard_adapters.whatsapp import wire
from callboard_adapters.whatsapp.errors import RULES, Verb, failure, refusal

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
REFERENCE = MessageId(RunId(UUID(int=7)), 3)


def status_of(code: int) -> int:
    return {190: 401, 0: 401, 131000: 500, 2: 503}.get(code, 400)


@pytest.mark.parametrize("code", sorted(RULES))
def test_every_code_has_one_clear_answer(code: int) -> None:
    rule = RULES[code]
    answer = refusal(400, code, None, None)
    match rule.verb:
        case Verb.RETRY_NOW | Verb.RETRY_AFTER:
            assert isinstance(answer, NotSent)
            assert answer.reason is Reason.PROVIDER_BUSY
            assert answer.retry_after
            assert answer.throttled is rule.throttled
        case Verb.NEVER_FOR_RECIPIENT | Verb.NEVER_FOR_TEMPLATE:
            assert isinstance(answer, Refused)
            assert (answer.reason is Reason.TEMPLATE_REFUSED) is (rule.verb is Verb.NEVER_FOR_TEMPLATE)
        case Verb.PAUSE_SENDER | Verb.REAUTH | Verb.STOP:
            assert isinstance(answer, SenderBlocked)
            assert answer.pause >= timedelta(minutes=15)
            assert answer.reason == rule.says
    assert answer.provider_code == str(code)


@pytest.mark.parametrize(
    ("status", "code", "subcode", "kind", "reason"),
    [
        (400, 131056, None, NotSent, Reason.PROVIDER_BUSY),
        (429, 130429, None, NotSent, Reason.PROVIDER_BUSY),
        (400, 130429, None, NotSent, Reason.PROVIDER_BUSY),
        (400, 131026, None, Refused, Reason.NOT_ON_CHANNEL),
        (400, 131049, None, Refused, Reason.MARKETING_LIMIT),
        (400, 131050, None, Refused, Reason.OPTED_OUT),
        (400, 132000, None, Refused, Reason.TEMPLATE_REFUSED),
        (404, 132001, None, Refused, Reason.TEMPLATE_REFUSED),
        (400, 100, None, Refused, Reason.REFUSED),
        (400, 100, 33, SenderBlocked, None),
        (401, 190, 463, SenderBlocked, None),
        (403, 294, None, SenderBlocked, None),
        (403, 368, None, SenderBlocked, None),
        (400, 999_999, None, Refused, Reason.REFUSED),
        (401, 999_999, None, SenderBlocked, None),
        # over a 5xx only a code that says "not taken" allows a retry
        (500, 131000, None, Ambiguous, None),
        (503, 2, None, Ambiguous, None),
        (500, 1, None, Ambiguous, None),
        (500, 999_999, None, Ambiguous, None),
        (500, 131057, None, NotSent, Reason.PROVIDER_BUSY),
        (503, 133004, None, NotSent, Reason.PROVIDER_BUSY),
        (500, 3, None, SenderBlocked, None),
        # without a Graph error only the status speaks
        (400, None, None, Ambiguous, None),
        (500, None, None, Ambiguous, None),
        (502, None, None, Ambiguous, None),
        (429, None, None, NotSent, Reason.PROVIDER_BUSY),
        (401, None, None, SenderBlocked, None),
        (302, None, None, SenderBlocked, None),
    ],
)
def test_the_code_decides_and_a_5xx_is_never_repeated_blindly(
    status: int, code: int | None, subcode: int | None, kind: type, reason: Reason | None
) -> None:
    answer = refusal(status, code, subcode, None)
    assert type(answer) is kind
    if isinstance(answer, NotSent | Refused):
        assert answer.reason is reason
    assert getattr(answer, "opted_out", False) is (code == 131050)


def test_retry_after_overrules_the_table_up_to_an_hour() -> None:
    answer = refusal(429, 130429, None, 9.0)
    assert isinstance(answer, NotSent)
    assert answer.retry_after == 9.0
    capped = refusal(429, 130429, None, 1e6)
    assert isinstance(capped, NotSent)
    assert capped.retry_after == 3600.0


def content(template: WhatsAppTemplate | None = None) -> Content:
    return Content(channel=Channel.WHATSAPP, text="", values={}, unsubscribe_base=None, template=template)


def test_a_text_carries_our_id_and_an_e164_number() -> None:
    body = wire.message_body(Outbound(reference=REFERENCE, to="+919876543210", text="Hé\n", content=content()))
    assert body == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+919876543210",
        "biz_opaque_callback_data": str(REFERENCE),
        "type": "text",
        "text": {"body": "Hé\n", "preview_url": False},
    }
    assert MessageId.parse(str(body["biz_opaque_callback_data"])) == REFERENCE


def test_a_template_has_exactly_the_components_it_needs() -> None:
    bare = WhatsAppTemplate(name="hello_world", language="en_US")
    body = wire.message_body(Outbound(reference=REFERENCE, to="+1", text="", content=content(bare)))
    assert body["template"] == {"name": "hello_world", "language": {"code": "en_US"}}
    full = WhatsAppTemplate(
        name="new_product", language="en", body=("a", "b"), button_suffix="x", header_image="https://x/y.jpg"
    )
    body = wire.message_body(
        Outbound(
            reference=REFERENCE, to="+1", text="", content=content(full), parameters=("P", "4999"), button_suffix="p/1"
        )
    )
    assert body["template"] == {
        "name": "new_product",
        "language": {"code": "en"},
        "components": [
            {"type": "header", "parameters": [{"type": "image", "image": {"link": "https://x/y.jpg"}}]},
            {"type": "body", "parameters": [{"type": "text", "text": "P"}, {"type": "text", "text": "4999"}]},
            {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "p/1"}]},
        ],
    }


def notification(value: dict[str, object], number: object = "1065") -> bytes:
    metadata = {"display_phone_number": "91", "phone_number_id": number}
    change = {"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
    return json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}).encode()


def test_statuses_become_receipts_with_every_field() -> None:
    sent = int(NOW.timestamp()) - 60
    body = notification(
        {
            "statuses": [
                {"id": "wamid.A", "status": "sent", "timestamp": str(sent), "recipient_id": "91",
                 "biz_opaque_callback_data": str(REFERENCE)},
                {"id": "wamid.A", "status": "delivered", "timestamp": sent + 5},
                {"id": "wamid.A", "status": "read", "timestamp": "soon", "biz_opaque_callback_data": "not ours"},
                {"id": "wamid.B", "status": "failed", "timestamp": str(sent),
                 "errors": [{"code": "131050", "title": "t"}]},
                {"id": "wamid.C", "status": "failed", "errors": []},
                {"id": "wamid.A", "status": "played"},
                {"id": "wamid.A", "status": ["sent"]},
                {"status": "sent"},
                "nonsense",
            ]
        }
    )  # fmt: skip
    (update,) = wire.updates(body, now=NOW)
    assert update.phone_number_id == "1065"
    a, b, c, d, e = update.receipts
    assert (a.fact, a.provider_message_id, a.message_id, a.at) == (
        Fact.SENT, "wamid.A", REFERENCE, NOW - timedelta(seconds=60),
    )  # fmt: skip
    assert (b.fact, b.message_id, b.at) == (Fact.DELIVERED, None, NOW - timedelta(seconds=55))
    assert (c.fact, c.message_id, c.at) == (Fact.READ, None, NOW)
    assert (d.fact, d.reason, d.provider_code, d.opted_out) == (Fact.FAILED, Reason.UNDELIVERED, "131050", True)
    assert (e.fact, e.reason, e.provider_code, e.opted_out) == (Fact.FAILED, Reason.UNDELIVERED, None, False)


def test_updates_are_grouped_by_the_number_they_name_and_need_one() -> None:
    one = json.loads(notification({"statuses": [{"id": "a", "status": "sent"}]}))
    two = json.loads(notification({"statuses": [{"id": "b", "status": "sent"}]}, number=77))
    none = json.loads(notification({"statuses": [{"id": "c", "status": "sent"}]}, number=None))
    body = json.dumps(one | {"entry": one["entry"] + two["entry"] + none["entry"] + one["entry"]}).encode()
    assert wire.numbers(body) == {"1065", "77"}
    first, second = wire.updates(body, now=NOW)
    assert [r.provider_message_id for r in first.receipts] == ["a", "a"]
    assert [r.provider_message_id for r in second.receipts] == ["b"]


@pytest.mark.parametrize(
    ("message", "text", "payload", "media"),
    [
        ({"type": "text", "text": {"body": "Where?"}}, "Where?", None, None),
        ({"type": "button", "button": {"payload": "stop", "text": "Stop promotions"}}, "Stop promotions", "stop", None),
        ({"type": "interactive", "interactive": {"button_reply": {"id": "yes", "title": "Yes"}}}, "Yes", "yes", None),
        ({"type": "interactive", "interactive": {"type": "list_reply", "list_reply": {"id": "r1", "title": "T"}}},
         "T", "r1", None),
        ({"type": "image", "image": {"id": 654, "caption": "c"}}, "c", None, "654"),
        ({"type": "reaction", "reaction": {"message_id": "wamid.X", "emoji": "👍"}}, "👍", "wamid.X", None),
        ({"type": "system", "system": {"type": "user_changed_number", "body": "b"}}, "b", None, None),
        ({"type": "unsupported", "errors": [{"code": 131051}]}, "", None, None),
        ({"type": 5, "text": "x"}, "", None, None),
        ({}, "", None, None),
    ],
)  # fmt: skip
def test_inbound_messages_of_every_type(
    message: dict[str, object], text: str, payload: str | None, media: str | None
) -> None:
    body = notification(
        {
            "contacts": [{"profile": {"name": "Priya"}, "wa_id": "919876543210", "user_id": "IN.1"}],
            "messages": [{"from": "919876543210", "id": "wamid.I", "timestamp": "1766400100", **message}, {"x": 1}],
        }
    )
    (update,) = wire.updates(body, now=NOW)
    (found,) = update.inbound
    assert (found.text, found.payload, found.media_id) == (text, payload, media)
    assert (found.from_number, found.name, found.user_id) == ("919876543210", "Priya", "IN.1")
    assert found.at <= NOW


def test_a_message_without_a_phone_keeps_its_user_id() -> None:
    (update,) = wire.updates(notification({"messages": [{"id": "m", "type": "text", "user_id": "IN.9"}]}), now=NOW)
    assert (update.inbound[0].from_number, update.inbound[0].user_id) == (None, "IN.9")


def test_marketing_preferences() -> None:
    items = [
        {"wa_id": "91", "category": "marketing_messages", "value": "stop", "timestamp": 1_766_400_000},
        {"wa_id": "92", "category": "marketing_messages", "value": "resume"},
        {"wa_id": "93", "category": "other", "value": "stop"},
        {"wa_id": "94", "category": "marketing_messages", "value": "maybe"},
    ]
    (update,) = wire.updates(notification({"user_preferences": items}), now=NOW)
    assert [(p.phone, p.stopped) for p in update.preferences] == [("91", True), ("92", False)]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"1", b'{"object":"page"}', b"[" * 100_000,
                                  b'{"object":"whatsapp_business_account","entry":{"a":1}}'])  # fmt: skip
def test_a_body_that_is_no_notification_says_nothing(body: bytes) -> None:
    assert wire.updates(body, now=NOW) == ()
    assert wire.numbers(body) == frozenset()
    assert wire.graph_error(body) is None
    assert wire.accepted_id(body) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
                    lambda c: st.lists(c, max_size=3) | st.dictionaries(st.sampled_from(
                        ["id", "status", "type", "text", "body", "errors", "code", "from", "contacts", "profile",
                         "interactive", "messages", "statuses", "timestamp", "wa_id"]), c), max_leaves=15))  # fmt: skip
def test_no_value_at_all_makes_parsing_raise(value: object) -> None:
    for name in ("statuses", "messages", "contacts", "user_preferences"):
        wire.updates(notification({name: value}), now=NOW)
        wire.updates(notification({name: [value]}), now=NOW)
    wire.graph_error(json.dumps({"error": value}).encode())
    wire.accepted_id(json.dumps({"messages": [value]}).encode())


def test_error_data_may_be_a_string_and_codes_may_be_digits() -> None:
    error = wire.graph_error(b'{"error":{"message":"m","code":"190","error_subcode":463,"error_data":"text"}}')
    assert error is not None
    assert (error.code, error.subcode) == (190, 463)


def test_a_failure_after_acceptance_is_undelivered_whatever_the_code_and_may_say_that_the_person_opted_out() -> None:
    for code in (131026, 131049, 132015, 131047, 131000, 424_242, None):
        assert failure(code) == (Reason.UNDELIVERED, False)
    assert failure(131050) == (Reason.UNDELIVERED, True)


@given(st.binary(max_size=200), st.text(min_size=1, max_size=40).filter(lambda s: s.isprintable()))
def test_only_the_numbers_own_secret_signs(body: bytes, secret: str) -> None:
    good = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert wire.signed(body, good, ["other" + secret, secret])
    assert not wire.signed(body, good, ["other" + secret])
    assert not wire.signed(body, good.removeprefix("sha256="), [secret])
    assert not wire.signed(body + b"\n", good, [secret])
    assert not wire.signed(body, None, [secret])
    assert not wire.signed(body, good, [])
    assert not wire.signed(body, good, [""])


@pytest.mark.parametrize("odd", ["sha256=é", "sha256=\udcff", b"\xff\xfe", "", "sha1=00", "sha256=" + "0" * 10**6])
def test_odd_signatures_are_wrong_not_errors(odd: str | bytes) -> None:
    assert not wire.signed(b"{}", odd, ["s"])


def test_a_body_with_escapes_is_checked_as_sent() -> None:
    body = b'{"name":"Zo\\u00eb","url":"https:\\/\\/x"}'
    assert wire.signed(body, wire.sign(body, "s"), ["s"])
    assert not wire.signed(json.dumps(json.loads(body)).encode(), wire.sign(body, "s"), ["s"])


def test_the_challenge_is_answered_exactly_and_only_with_our_token() -> None:
    good = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "ours"}
    assert wire.challenge(good, "ours") == "1158201444"
    assert wire.challenge(good, "theirs") is None
    assert wire.challenge(good, None) is None
    assert wire.challenge(good | {"hub.verify_token": ""}, "") is None
    assert wire.challenge(good | {"hub.mode": "unsubscribe"}, "ours") is None
    assert wire.challenge(good | {"hub.verify_token": "\udcff"}, "ours") is None
    assert wire.challenge({}, "ours") is None
