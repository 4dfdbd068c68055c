"""WhatsAppCloud against the twin over real sockets: validation, limits, faults, statuses and inbound messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from tests.integration.providers.conftest import Twin
from tests.integration.providers.raw import Receiver, message, server, until

from callboard.messages.model import Fact, Reason, Receipt, WhatsAppTemplate
from callboard.messages.ports import Accepted, Ambiguous, NotSent, Refused, SenderBlocked
from callboard.messages.ports import Outbound as Message
from callboard_adapters.outbound import Outbound
from callboard_adapters.whatsapp import wire
from callboard_adapters.whatsapp.client import WhatsAppCloud

SALE = WhatsAppTemplate(name="campaign_text", language="en", body=("{{firstName}}",))


@pytest.fixture
def whatsapp(twin: Twin, outbound: Outbound) -> WhatsAppCloud:
    return WhatsAppCloud(
        http=outbound, base_url=twin.url, version="v23.0", phone_number_id="1065", access_token="token-1"
    )


def sale(to: str = "+919876543210", *, seq: int = 1, text: str = "Hi Priya") -> Message:
    return message(to, seq=seq, template=SALE, parameters=(text,))


async def test_a_wave_of_templates_is_accepted_in_order_with_our_reference(twin: Twin, whatsapp: WhatsAppCloud) -> None:
    batch = [sale(f"+9198765{n:05d}", seq=n + 1, text=f"Zoë {n} 🎉") for n in range(40)]
    answers = await whatsapp.send(batch)
    received = await twin.received("whatsapp")
    ids = {e["reference"]: e["provider_message_id"] for e in received}
    assert answers == [Accepted(provider_message_id=ids[str(m.reference)]) for m in batch]
    entry = next(e for e in received if e["to"] == batch[0].to)
    assert entry["path"] == "/v23.0/1065/messages"
    assert entry["headers"]["authorization"] == "Bearer token-1"
    assert entry["body"]["biz_opaque_callback_data"] == str(batch[0].reference)
    assert entry["body"]["template"]["components"] == [
        {"type": "body", "parameters": [{"type": "text", "text": "Zoë 0 🎉"}]}
    ]


@pytest.mark.parametrize(
    ("number", "token", "code"), [("1065", "token-2", "190"), ("1065", "x", "190"), ("4711", "token-1", "100")]
)
async def test_bad_tokens_and_unknown_numbers_block_the_sender(
    twin: Twin, whatsapp: WhatsAppCloud, number: str, token: str, code: str
) -> None:
    (answer,) = await attrs.evolve(whatsapp, phone_number_id=number, access_token=token).send([sale()])
    assert isinstance(answer, SenderBlocked)
    assert answer.provider_code == code
    assert await twin.received("whatsapp") == []


@pytest.mark.parametrize(
    ("template", "parameters", "button", "code"),
    [
        (SALE, (), None, "132000"),
        (SALE, ("a", "b"), None, "132000"),
        (SALE, ("two\nlines",), None, "132012"),
        (SALE, ("a     b",), None, "132012"),
        (SALE, ("x" * 1025,), None, "132005"),
        (SALE, ("a",), "suffix", "132018"),
        (WhatsAppTemplate(name="campaign_text", language="hi"), ("a",), None, "132001"),
        (WhatsAppTemplate(name="nobody_knows", language="en"), (), None, "132001"),
        (WhatsAppTemplate(name="new_product", language="en"), ("a", "1"), "p/1", "132012"),
        (WhatsAppTemplate(name="paused_one", language="en"), (), None, "132015"),
        (WhatsAppTemplate(name="cart_reminder", language="en"), ("a", "b", "c"), None, "131008"),
        (WhatsAppTemplate(name="otp_login", language="en"), ("123456",), "654321", "132018"),
    ],
)
async def test_a_template_that_does_not_fit_is_refused_as_meta_does(
    twin: Twin,
    whatsapp: WhatsAppCloud,
    template: WhatsAppTemplate,
    parameters: tuple[str, ...],
    button: str | None,
    code: str,
) -> None:
    before = (await twin.get("/config"))["whatsapp"]["templates"]
    await twin.post("/config", whatsapp={"templates": [*before, {"name": "paused_one", "status": "PAUSED"}]})
    (answer,) = await whatsapp.send([message(template=template, parameters=parameters, button=button)])
    reason = Reason.REFUSED if code == "131008" else Reason.TEMPLATE_REFUSED
    assert answer == Refused(reason=reason, provider_code=code)
    assert await twin.received("whatsapp") == []


@pytest.mark.parametrize(
    ("template", "parameters", "button"),
    [
        (WhatsAppTemplate(name="hello_world", language="en_US"), (), None),
        (WhatsAppTemplate(name="otp_login", language="en"), ("123456",), "123456"),
        (WhatsAppTemplate(name="cart_reminder", language="en"), ("Priya", "Saree", "Rs.2499"), "checkout/1"),
        (WhatsAppTemplate(name="new_product", language="en", header_image="https://x/y.jpg"), ("Saree", "4999"), "p/1"),
    ],
)
async def test_templates_that_fit_are_taken(
    whatsapp: WhatsAppCloud, template: WhatsAppTemplate, parameters: tuple[str, ...], button: str | None
) -> None:
    (answer,) = await whatsapp.send([message(template=template, parameters=parameters, button=button)])
    assert isinstance(answer, Accepted)


FAULTS: list[tuple[dict[str, Any], object, bool]] = [
    ({"kind": "status", "code": 131000}, Ambiguous(provider_code="131000"), False),
    ({"kind": "status", "status": 503, "body": "<html>"}, Ambiguous(provider_code="http_503"), False),
    ({"kind": "status", "status": 400, "body": "<html>"}, Ambiguous(provider_code="http_400"), False),
    ({"kind": "status", "code": 131057},
     NotSent(reason=Reason.PROVIDER_BUSY, provider_code="131057", retry_after=60.0, throttled=True), False),
    ({"kind": "status", "code": 130429, "retry_after": 3},
     NotSent(reason=Reason.PROVIDER_BUSY, provider_code="130429", retry_after=3.0, throttled=True), False),
    ({"kind": "status", "code": 131026}, Refused(reason=Reason.NOT_ON_CHANNEL, provider_code="131026"), False),
    ({"kind": "status", "code": 131050},
     Refused(reason=Reason.OPTED_OUT, provider_code="131050", opted_out=True), False),
    ({"kind": "timeout", "seconds": 5}, Ambiguous(provider_code="read_timeout"), True),
    ({"kind": "truncated"}, Ambiguous(provider_code="body_truncated"), True),
    ({"kind": "endless"}, Ambiguous(provider_code="body_too_large"), True),
    ({"kind": "garbage"}, Ambiguous(provider_code="unreadable_answer"), True),
    ({"kind": "garbage", "body": '{"messages":[]}'}, Ambiguous(provider_code="unreadable_answer"), True),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "expected", "accepted"), FAULTS)
async def test_each_fault_gets_its_answer_and_the_next_call_works(
    twin: Twin, whatsapp: WhatsAppCloud, fault: Mapping[str, Any], expected: object, accepted: bool
) -> None:
    await twin.post("/faults", provider="whatsapp", **fault)
    assert await whatsapp.send([sale(seq=1)]) == [expected]
    assert len(await twin.received("whatsapp")) == int(accepted)
    assert isinstance((await whatsapp.send([sale(seq=2)]))[0], Accepted)


@pytest.mark.parametrize("code", [190, 368, 131031, 131042, 131048, 133010])
async def test_faults_of_the_sender_itself_pause_it(twin: Twin, whatsapp: WhatsAppCloud, code: int) -> None:
    await twin.post("/faults", provider="whatsapp", kind="status", code=code)
    (answer,) = await whatsapp.send([sale()])
    assert isinstance(answer, SenderBlocked)
    assert answer.provider_code == str(code)


@pytest.mark.parametrize(("kind", "accepted"), [("reset_before", 0), ("reset_after", 1)])
async def test_a_reset_connection_is_ambiguous(twin: Twin, whatsapp: WhatsAppCloud, kind: str, accepted: int) -> None:
    await twin.post("/faults", provider="whatsapp", kind=kind)
    assert isinstance((await whatsapp.send([sale()]))[0], Ambiguous)
    assert len(await twin.received("whatsapp")) == accepted


async def test_the_number_throughput_and_the_pair_limit(twin: Twin, whatsapp: WhatsAppCloud) -> None:
    await twin.post("/config", whatsapp={"per_second": 1})
    answers = await whatsapp.send([sale(f"+9198765{n:05d}", seq=n) for n in range(20)])
    assert any(isinstance(a, Accepted) for a in answers)
    throttled = [a for a in answers if isinstance(a, NotSent)]
    assert throttled
    assert all(a.provider_code == "130429" and a.throttled for a in throttled)
    await twin.post("/clock", advance=60)
    await twin.post("/config", whatsapp={"per_second": 0})
    one = [(await whatsapp.send([sale(seq=n)]))[0] for n in range(46)]
    assert all(isinstance(a, Accepted) for a in one[:45])
    last = one[45]
    assert isinstance(last, NotSent)
    assert (last.provider_code, last.throttled) == ("131056", True)
    assert isinstance((await whatsapp.send([sale("+919876543211")]))[0], Accepted)  # others are not affected
    await twin.post("/clock", advance=7)
    assert isinstance((await whatsapp.send([sale()]))[0], Accepted)


def receipts(receiver: Receiver) -> list[Receipt]:
    now = datetime.now(UTC)
    return [r for q in receiver.requests for u in wire.updates(q.body, now=now) for r in u.receipts]


async def test_statuses_are_signed_batched_and_carry_our_reference(twin: Twin, whatsapp: WhatsAppCloud) -> None:
    receiver = Receiver()
    async with server(receiver) as hook:
        await twin.post("/config", whatsapp={"webhook_url": f"{hook}/webhooks/whatsapp", "app_secret": "app"})
        batch = [sale(f"+9198765{n:05d}", seq=n + 1) for n in range(30)]
        await whatsapp.send(batch)
        await until(lambda: len(receipts(receiver)) >= 90)
    got = receipts(receiver)
    assert {(r.message_id, r.fact) for r in got} == {
        (m.reference, fact) for m in batch for fact in (Fact.SENT, Fact.DELIVERED, Fact.READ)
    }
    assert len(receiver.requests) < 60
    for request in receiver.requests:
        assert wire.numbers(request.body) == {"1065"}
        assert wire.signed(request.body, request.headers["x-hub-signature-256"], ["app"])
        assert not wire.signed(request.body, request.headers["x-hub-signature-256"], ["other"])


async def test_each_number_has_its_own_webhook_and_secret(twin: Twin, whatsapp: WhatsAppCloud) -> None:
    first, second = Receiver(), Receiver()
    async with server(first) as one, server(second) as two:
        numbers = {
            "1065": {"token": "token-1", "webhook_url": one, "app_secret": "a"},
            "1066": {"token": "token-2", "webhook_url": two, "app_secret": "b"},
        }
        await twin.post("/config", whatsapp={"numbers": numbers})
        await whatsapp.send([sale(seq=1)])
        await attrs.evolve(whatsapp, phone_number_id="1066", access_token="token-2").send([sale(seq=2)])
        await until(lambda: len(receipts(first)) >= 3 and len(receipts(second)) >= 3)
    assert wire.signed(first.requests[0].body, first.requests[0].headers["x-hub-signature-256"], ["a"])
    assert wire.signed(second.requests[0].body, second.requests[0].headers["x-hub-signature-256"], ["b"])
    assert {r.message_id for r in receipts(second)} == {sale(seq=2).reference}


@pytest.mark.parametrize(
    ("ending", "facts", "code", "opted_out"),
    [
        ("9990002", [Fact.FAILED], "131026", False),
        ("9990003", [Fact.FAILED], "131049", False),
        ("9990004", [Fact.FAILED], "131050", True),
        ("9990011", [f for f in (Fact.SENT, Fact.DELIVERED, Fact.READ) for _ in range(2)], None, False),
        ("9990012", [Fact.READ, Fact.DELIVERED, Fact.SENT], None, False),
        ("9990014", [Fact.SENT, Fact.FAILED], "131026", False),
        ("9990007", [Fact.SENT, Fact.DELIVERED, Fact.READ], None, False),
    ],
)
async def test_magic_numbers_report_what_the_table_says(
    twin: Twin, whatsapp: WhatsAppCloud, ending: str, facts: list[Fact], code: str | None, opted_out: bool
) -> None:
    receiver = Receiver()
    async with server(receiver) as hook:
        await twin.post("/config", whatsapp={"webhook_url": hook})
        (answer,) = await whatsapp.send([sale(f"+91987{ending}")])
        await until(lambda: len(receipts(receiver)) >= len(facts))
    got = receipts(receiver)
    assert [r.fact for r in got] == facts
    assert (got[-1].provider_code, got[-1].opted_out) == (code, opted_out)
    assert {r.message_id for r in got} == {sale().reference}  # an unknown row finds its proof by it
    assert isinstance(answer, Ambiguous if ending == "9990007" else Accepted)


async def test_a_free_text_needs_an_open_window(twin: Twin, whatsapp: WhatsAppCloud) -> None:
    receiver = Receiver()
    text = message(text="Thanks!")
    async with server(receiver) as hook:
        await twin.post("/config", whatsapp={"webhook_url": hook})
        assert isinstance((await whatsapp.send([text]))[0], Accepted)
        await until(lambda: len(receipts(receiver)) == 1)
        assert [(r.fact, r.provider_code) for r in receipts(receiver)] == [(Fact.FAILED, "131047")]
        await twin.post("/config", whatsapp={"window": "answer"})
        assert (await whatsapp.send([text]))[0] == Refused(reason=Reason.REFUSED, provider_code="131047")
        await twin.post("/inbound", provider="whatsapp", **{"from": text.to, "phone_number_id": "1065", "text": "Hi"})
        assert isinstance((await whatsapp.send([text]))[0], Accepted)
        await until(lambda: len(receipts(receiver)) == 4)
        await twin.post("/clock", advance=86_401)
        assert isinstance((await whatsapp.send([text]))[0], Refused)


async def test_what_customers_do_arrives_signed_with_escapes(twin: Twin) -> None:
    receiver = Receiver()
    who = {"provider": "whatsapp", "from": "+919876543210", "phone_number_id": "1065", "name": "Zoë"}
    async with server(receiver) as hook:
        await twin.post("/config", whatsapp={"webhook_url": hook, "app_secret": "app"})
        await twin.post("/inbound", **who, text="STOP https://x/y")
        await twin.post("/inbound", **who, button={"payload": "stop", "text": "Stop promotions"})
        await twin.post("/inbound", **who, preference="stop")
        await twin.post("/inbound", **who, message={"type": "image", "image": {"id": "5", "caption": "c"}})
    found = [wire.updates(q.body, now=datetime.now(UTC))[0] for q in receiver.requests]
    for request in receiver.requests:
        assert wire.signed(request.body, request.headers["x-hub-signature-256"], ["app"])
    assert b"Zo\\u00eb" in receiver.requests[0].body
    assert b"https:\\/\\/x\\/y" in receiver.requests[0].body
    assert (found[0].inbound[0].text, found[0].inbound[0].name) == ("STOP https://x/y", "Zoë")
    assert found[1].inbound[0].payload == "stop"
    assert [(p.phone, p.stopped) for p in found[2].preferences] == [("919876543210", True)]
    assert found[3].inbound[0].media_id == "5"


async def test_the_twin_refuses_what_meta_refuses_whoever_asks(twin: Twin) -> None:
    url = f"{twin.url}/v25.0/1065/messages"
    headers = {"authorization": "Bearer token-1"}
    good = {"messaging_product": "whatsapp", "to": "+919876543210", "type": "template",
            "template": {"name": "hello_world", "language": {"code": "en_US"}}}  # fmt: skip
    cases: list[tuple[dict[str, Any], int, int]] = [
        ({"messaging_product": None}, 100, 400),
        ({"to": "nobody"}, 131009, 400),
        ({"to": None}, 131009, 400),
        ({"type": "telegram"}, 100, 400),
        ({"biz_opaque_callback_data": "x" * 513}, 131009, 400),
        ({"template": {"name": "hello_world"}}, 131008, 400),
        ({"template": {"name": "gone", "language": {"code": "en"}}}, 132001, 404),
        ({"type": "text", "text": {"body": ""}}, 131008, 400),
        ({"type": "text", "text": {"body": "x" * 4097}}, 131009, 400),
    ]
    for change, code, status in cases:
        answer = await twin.http.post(url, json=good | change, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), change
        assert answer.json()["error"]["fbtrace_id"]
    for body in (b"", b"{", b"\xff", b"[]", b'{"to":'):
        answer = await twin.http.post(url, content=body, headers=headers)
        assert answer.json()["error"]["code"] == 100
    answer = await twin.http.post(url, json=good)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, 190)
    answer = await twin.http.post(url, json=good, headers=headers)
    assert answer.json()["contacts"] == [{"input": "+919876543210", "wa_id": "919876543210"}]
    assert answer.json()["messages"][0]["message_status"] == "accepted"
    answer = await twin.http.post(url, json={"messaging_product": "whatsapp", "status": "read", "message_id": "w"},
                                  headers=headers)  # fmt: skip
    assert answer.json() == {"success": True}


async def test_a_number_without_plus_gets_the_business_numbers_country(twin: Twin) -> None:
    await twin.post("/config", whatsapp={"numbers": {"1065": {"token": "token-1", "display": "911234567890"}}})
    body = {"messaging_product": "whatsapp", "to": "(631) 555-1234", "type": "template",
            "template": {"name": "hello_world", "language": {"code": "en_US"}}}  # fmt: skip
    answer = await twin.http.post(f"{twin.url}/1065/messages", json=body, headers={"authorization": "Bearer token-1"})
    assert answer.json()["contacts"] == [{"input": "(631) 555-1234", "wa_id": "916315551234"}]
    assert (await twin.received("whatsapp"))[0]["to"] == "+916315551234"


async def test_a_doctor_can_ask_for_the_number_and_its_templates(twin: Twin) -> None:
    headers = {"authorization": "Bearer token-1"}
    number = (await twin.http.get(f"{twin.url}/v23.0/1065", headers=headers)).json()
    assert number["id"] == "1065"
    templates = (await twin.http.get(f"{twin.url}/v23.0/555/message_templates", headers=headers)).json()
    assert "hello_world" in {t["name"] for t in templates["data"]}
    assert (await twin.http.get(f"{twin.url}/v23.0/1065")).status_code == 401
    assert (await twin.http.get(f"{twin.url}/nothing")).status_code == 404
