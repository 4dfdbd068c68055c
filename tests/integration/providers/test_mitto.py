"""MittoSms against the twin over real sockets: every fault gets the answer reliability.md demands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from tests.integration.providers.conftest import Twin
from tests.integration.providers.raw import Receiver, message, says, server, until

from callboard.messages.model import Fact, Reason
from callboard.messages.ports import Accepted, Ambiguous, NotSent, Refused, SenderBlocked
from callboard_adapters.outbound import Outbound
from callboard_adapters.sms import wire
from callboard_adapters.sms.client import MittoSms


@pytest.fixture
def sms(twin: Twin, outbound: Outbound) -> MittoSms:
    return MittoSms(http=outbound, base_url=twin.url, api_key="key-1", sender="Shop")


async def test_a_wave_is_accepted_in_order_and_journalled_with_our_reference(twin: Twin, sms: MittoSms) -> None:
    batch = [message(f"+9198765{n:05d}", seq=n + 1, text=f"Grüße {n} 🎉") for n in range(40)]
    answers = await sms.send(batch)
    received = await twin.received("sms")
    ids = {entry["to"]: entry["provider_message_id"] for entry in received}
    assert answers == [Accepted(provider_message_id=ids[m.to]) for m in batch]
    assert {e["reference"] for e in received} == {str(m.reference) for m in batch}
    assert [e["n"] for e in received] == list(range(1, 41))
    first = next(e for e in received if e["to"] == batch[0].to)
    assert first["body"] == {"destination": batch[0].to, "sms": {"text": "Grüße 0 🎉", "sender": "Shop"}}
    assert first["headers"]["x-mitto-api-key"] == "key-1"
    assert await twin.received("mitto", since=38) == received[38:]


async def test_the_account_id_travels_when_it_is_set(twin: Twin, sms: MittoSms) -> None:
    await attrs.evolve(sms, account_id="acc-1").send([message()])
    assert (await twin.received("sms"))[0]["body"]["trafficAccountId"] == "acc-1"


async def test_a_wrong_key_blocks_the_sender_and_sends_nothing(twin: Twin, sms: MittoSms) -> None:
    (answer,) = await attrs.evolve(sms, api_key="wrong").send([message()])
    assert isinstance(answer, SenderBlocked)
    assert await twin.received("sms") == []


FAULTS: list[tuple[dict[str, Any], object, bool]] = [
    ({"kind": "status", "status": 500}, Ambiguous(provider_code="injected"), False),
    ({"kind": "status", "status": 503, "accept": True}, Ambiguous(provider_code="injected"), True),
    ({"kind": "status", "status": 502, "body": "<html>"}, Ambiguous(provider_code="http_502"), False),
    ({"kind": "status", "status": 400, "body": "<html>"}, Ambiguous(provider_code="http_400"), False),
    ({"kind": "status", "status": 400, "code": "invalid_destination"},
     Refused(reason=Reason.INVALID_NUMBER, provider_code="invalid_destination"), False),
    ({"kind": "status", "status": 429, "code": "throttled", "retry_after": 7},
     NotSent(reason=Reason.PROVIDER_BUSY, provider_code="throttled", retry_after=7.0, throttled=True), False),
    ({"kind": "timeout", "seconds": 5}, Ambiguous(provider_code="read_timeout"), True),
    ({"kind": "timeout", "seconds": 5, "accept": False}, Ambiguous(provider_code="read_timeout"), False),
    ({"kind": "truncated"}, Ambiguous(provider_code="body_truncated"), True),
    ({"kind": "endless"}, Ambiguous(provider_code="body_too_large"), True),
    ({"kind": "garbage"}, Ambiguous(provider_code="unreadable_answer"), True),
    ({"kind": "garbage", "body": "{}"}, Ambiguous(provider_code="unreadable_answer"), True),
    ({"kind": "reject"}, Refused(reason=Reason.REFUSED, provider_code="Rejected"), False),
    ({"kind": "no_id"}, Refused(reason=Reason.REFUSED, provider_code="Accepted"), False),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "expected", "accepted"), FAULTS)
async def test_each_fault_gets_its_answer_and_the_next_call_works(
    twin: Twin, sms: MittoSms, fault: Mapping[str, Any], expected: object, accepted: bool
) -> None:
    await twin.post("/faults", provider="sms", next=1, **fault)
    assert await sms.send([message(seq=1)]) == [expected]
    assert len(await twin.received("sms")) == int(accepted)
    assert isinstance((await sms.send([message(seq=2)]))[0], Accepted)


@pytest.mark.parametrize(("kind", "accepted"), [("reset_before", 0), ("reset_after", 1)])
async def test_a_reset_connection_is_ambiguous_whatever_happened_behind_it(
    twin: Twin, sms: MittoSms, kind: str, accepted: int
) -> None:
    await twin.post("/faults", provider="sms", kind=kind)
    (answer,) = await sms.send([message()])
    assert isinstance(answer, Ambiguous)
    assert len(await twin.received("sms")) == accepted


async def test_a_twin_that_is_not_there_is_not_sent(outbound: Outbound) -> None:
    nowhere = MittoSms(http=outbound, base_url="http://127.0.0.1:1", api_key="k", sender="Shop")
    assert await nowhere.send([message()]) == [
        NotSent(reason=Reason.PROVIDER_UNREACHABLE, provider_code="connect_failed")
    ]


async def test_faults_hit_what_they_match(twin: Twin, sms: MittoSms) -> None:
    await twin.post("/faults", provider="sms", kind="status", status=400, code="blacklisted", always=True,
                    match={"to_suffix": "7", "text_contains": "sale"})  # fmt: skip
    await twin.post("/faults", provider="sms", kind="reject", every=3)
    batch = [message(f"+91987654320{n}", seq=n, text="sale" if n < 8 else "other") for n in range(6, 10)]
    answers = [(await sms.send([m]))[0] for m in batch]
    assert [type(a) for a in answers] == [Accepted, Refused, Refused, Accepted]
    assert answers[1] == Refused(reason=Reason.SUPPRESSED, provider_code="blacklisted")
    rules = await twin.get("/faults")
    assert [(r["seen"], r["hits"]) for r in rules] == [(1, 1), (4, 1)]
    assert await twin.http.delete("/faults") is not None
    assert await twin.get("/faults") == []


async def test_bulk_answers_each_message_on_its_own(twin: Twin, sms: MittoSms) -> None:
    await twin.post("/faults", provider="sms", kind="reject", always=True, match={"to_suffix": "3"})
    await twin.post("/faults", provider="sms", kind="no_id", always=True, match={"to_suffix": "5"})
    bulk = attrs.evolve(sms, bulk_size=4)
    assert bulk.concurrency == 128
    batch = [message(f"+91987654320{n}", seq=n) for n in range(1, 9)]
    answers = await bulk.send(batch)
    received = await twin.received("sms")
    ids = {e["to"]: e["provider_message_id"] for e in received}
    for m, answer in zip(batch, answers, strict=True):
        if m.to[-1] in "35":
            assert isinstance(answer, Refused)
            assert m.to not in ids
        else:
            assert answer == Accepted(provider_message_id=ids[m.to])
    assert {e["path"] for e in received} == {"/api/v1.1/Messages/sendmessagesbulk"}


async def test_one_bad_number_in_a_bulk_does_not_touch_its_neighbours(twin: Twin, sms: MittoSms) -> None:
    batch = [message("+919876543201"), message("junk", seq=2), message("+919876543203", seq=3)]
    first, second, third = await attrs.evolve(sms, bulk_size=10).send(batch)
    assert isinstance(first, Accepted)
    assert second == Refused(reason=Reason.INVALID_NUMBER, provider_code="invalid_destination")
    assert isinstance(third, Accepted)
    assert (await twin.stats("sms"))["accepted"] == 2


async def test_a_lost_bulk_answer_is_ambiguous_for_all_of_it_and_not_asked_again(twin: Twin, sms: MittoSms) -> None:
    await twin.post("/faults", provider="sms", kind="truncated")
    answers = await attrs.evolve(sms, bulk_size=10).send([message(seq=n) for n in range(1, 6)])
    assert answers == [Ambiguous(provider_code="body_truncated")] * 5
    assert (await twin.stats("sms"))["accepted"] == 5


async def test_a_bulk_answer_with_another_number_of_entries_is_ambiguous(outbound: Outbound) -> None:
    body = b'{"bulkId":"b","messages":[{"messageId":"1"}]}'
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    async with server(says(raw)) as url:
        bulk = MittoSms(http=outbound, base_url=url, api_key="k", sender="Shop", bulk_size=2)
        assert await bulk.send([message(seq=1), message(seq=2)]) == [Ambiguous(provider_code="unreadable_answer")] * 2


async def test_a_text_that_cannot_be_encoded_is_refused_before_it_leaves(twin: Twin, sms: MittoSms) -> None:
    answers = await sms.send([message(text="\ud800"), message(seq=2)])
    assert answers[0] == Refused(reason=Reason.REFUSED, provider_code="text_not_encodable")
    assert isinstance(answers[1], Accepted)


async def test_no_more_than_the_allowed_requests_are_in_flight(outbound: Outbound) -> None:
    now, most = 0, 0

    async def behave(_r: asyncio.StreamReader, w: asyncio.StreamWriter, _q: object) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        body = b'{"messages":[{"messageId":"1"}]}'
        w.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await w.drain()

    async with server(behave) as url:
        client = MittoSms(http=outbound, base_url=url, api_key="k", sender="Shop", requests=5)
        assert len(await client.send([message(seq=n) for n in range(23)])) == 23
    assert most == 5


async def test_reports_are_posted_signed_and_in_batches(twin: Twin, sms: MittoSms) -> None:
    receiver = Receiver()
    async with server(receiver) as hook:
        await twin.post("/config", sms={"delivery_url": f"{hook}/webhooks/sms/delivery"})
        answers = await sms.send([message(f"+9198765{n:05d}", seq=n + 1) for n in range(30)])
        receipts = await collected(receiver, 60)
    assert {(r.provider_message_id, r.fact) for r in receipts} == {
        (a.provider_message_id, fact)
        for a in answers
        if isinstance(a, Accepted)
        for fact in (Fact.SENT, Fact.DELIVERED)
    }
    assert len(receiver.requests) < 60
    for request in receiver.requests:
        assert request.path == "/webhooks/sms/delivery"
        given = [request.headers["x-webhook-signature"], request.headers["x-mitto-signature"]]
        assert wire.signed(request.body, given, "key-1")  # by default the API key the message was sent with
        assert not wire.signed(request.body, given, "key-2")
    assert (await twin.stats("sms"))["callbacks"]["pending"] == 0


async def collected(receiver: Receiver, wanted: int) -> list[Any]:
    def receipts() -> list[Any]:
        found: list[Any] = []
        for request in receiver.requests:
            reports = wire.reports(request.body, now=datetime.now(UTC))
            assert reports is not None
            found.extend(reports.receipts)
        return found

    await until(lambda: len(receipts()) >= wanted)
    return receipts()


async def test_a_receiver_that_fails_is_posted_to_again(twin: Twin, sms: MittoSms) -> None:
    receiver = Receiver(500, 503)
    async with server(receiver) as hook:
        await twin.post("/config", sms={"delivery_url": hook, "secret": "s"})
        await sms.send([message("+919879990010")])  # one report only
        await until(lambda: len(receiver.requests) >= 3)
    bodies = [r.body for r in receiver.requests]
    assert len(bodies) == 3
    assert len(set(bodies)) == 1
    assert wire.signed(bodies[0], [receiver.requests[0].headers["x-mitto-signature"]], "s")
    counts = (await twin.stats("sms"))["callbacks"]
    assert (counts["posts"], counts["retried"], counts["given_up"]) == (3, 2, 0)


@pytest.mark.parametrize(
    ("ending", "facts"),
    [
        ("9990002", [Fact.SENT, Fact.FAILED]),
        ("9990004", [Fact.FAILED]),
        ("9990010", [Fact.SENT]),
        ("9990011", [Fact.SENT, Fact.SENT, Fact.DELIVERED, Fact.DELIVERED]),
        ("9990012", [Fact.DELIVERED, Fact.SENT]),
        ("9990007", [Fact.SENT, Fact.DELIVERED]),
    ],
)
async def test_magic_numbers_report_what_the_table_says(
    twin: Twin, sms: MittoSms, ending: str, facts: list[Fact]
) -> None:
    receiver = Receiver()
    async with server(receiver) as hook:
        await twin.post("/config", sms={"delivery_url": hook})
        (answer,) = await sms.send([message(f"+91987{ending}")])
        receipts = await collected(receiver, len(facts))
    assert [r.fact for r in receipts] == facts
    assert isinstance(answer, Ambiguous if ending == "9990007" else Accepted)
    assert ending in (await twin.get("/magic"))["sms"]


async def test_magic_numbers_refuse_what_the_table_says(twin: Twin, sms: MittoSms) -> None:
    async def kind(ending: str) -> object:
        return (await sms.send([message(f"+91987{ending}")]))[0]

    assert await kind("9990001") == Refused(reason=Reason.INVALID_NUMBER, provider_code="invalid_destination")
    throttled = await kind("9990005")
    assert isinstance(throttled, NotSent)
    assert (throttled.throttled, throttled.retry_after) == (True, 1.0)
    assert isinstance(await kind("9990005"), Accepted)
    assert isinstance(await kind("9990008"), Ambiguous)
    assert isinstance(await kind("9990009"), Ambiguous)
    assert isinstance(await kind("9990013"), Refused)
    assert isinstance(await kind("9990014"), Refused)
    await twin.post("/config", magic=False)
    assert isinstance(await kind("9990001"), Accepted)


async def test_callbacks_may_double_turn_round_vanish_and_come_before_the_answer(twin: Twin, sms: MittoSms) -> None:
    receiver = Receiver()
    async with server(receiver) as hook:
        await twin.post("/config", sms={"delivery_url": hook, "callbacks": {"duplicate": 1.0, "reorder": True}})
        await sms.send([message()])
        facts = [r.fact for r in await collected(receiver, 4)]
        assert sorted(facts) == [Fact.DELIVERED, Fact.DELIVERED, Fact.SENT, Fact.SENT]
        assert facts[0] is Fact.DELIVERED
        receiver.requests.clear()
        calm = {"duplicate": 0, "reorder": False}
        await twin.post("/config", sms={"callbacks": calm | {"before_answer": True, "delay_ms": [60_000]}})
        await sms.send([message(seq=2)])
        assert [r.fact for r in await collected(receiver, 1)] == [Fact.SENT]
        assert (await twin.stats("sms"))["callbacks"]["pending"] == 1
        await twin.post("/clock", advance=61)  # what is due follows at once
        assert [r.fact for r in await collected(receiver, 2)] == [Fact.SENT, Fact.DELIVERED]
        await twin.post("/config", sms={"callbacks": {"before_answer": False, "drop": 1.0, "delay_ms": [0]}})
        await sms.send([message(seq=3)])
        async with asyncio.timeout(5):
            while (await twin.stats("sms"))["callbacks"]["dropped"] < 2:
                await asyncio.sleep(0.02)
        assert len(receiver.requests) == 2


async def test_a_message_can_be_read_back_even_when_no_report_ever_came(twin: Twin, sms: MittoSms) -> None:
    await twin.post("/config", sms={"callbacks": {"delay_ms": [20_000]}})
    answers = await sms.send([message(), message("+919879990002", seq=2)])
    first, second = (a.provider_message_id for a in answers if isinstance(a, Accepted))
    assert await sms.read(first) is None  # queued: no news
    await twin.post("/clock", advance=25)
    sent = await sms.read(first)
    assert sent is not None
    assert (sent.fact, sent.provider_message_id) == (Fact.SENT, first)
    await twin.post("/clock", advance=60)
    delivered, failed = await sms.read(first), await sms.read(second)
    assert delivered is not None
    assert failed is not None
    assert (delivered.fact, failed.fact) == (Fact.DELIVERED, Fact.FAILED)
    await twin.post("/faults", provider="sms", endpoint="read", kind="status", status=500)
    assert await sms.read(first) is None  # a failed question proves nothing
    assert await sms.read(first) is not None
    for odd in ("00000000-0000-4000-8000-000000000000", "x", "../send", "", "ä"):
        assert await sms.read(odd) is None


async def test_a_customers_text_arrives_signed(twin: Twin) -> None:
    receiver = Receiver()
    async with server(receiver) as hook:
        await twin.post("/config", sms={"inbound_url": f"{hook}/webhooks/sms/inbound", "secret": "s"})
        answer = await twin.post("/inbound", provider="sms", **{"from": "+919876543210", "to": "Shop", "text": "STOP"})
        assert answer == {"delivered": True}
    (request,) = receiver.requests
    assert wire.signed(request.body, [request.headers["x-webhook-signature"]], "s")
    assert wire.inbound(request.body) == (wire.InboundSms(from_number="+919876543210", to="Shop", text="STOP"),)


async def test_a_rate_limit_answers_429_with_retry_after(twin: Twin, sms: MittoSms) -> None:
    await twin.post("/config", sms={"per_second": 1})
    answers = await sms.send([message(seq=n) for n in range(12)])
    throttled = [a for a in answers if isinstance(a, NotSent)]
    assert any(isinstance(a, Accepted) for a in answers)
    assert throttled
    assert all(a.throttled and a.retry_after == 1.0 for a in throttled)
    await twin.post("/clock", advance=10)
    assert isinstance((await sms.send([message()]))[0], Accepted)


async def test_duplicates_are_counted_by_reference_and_by_recipient_and_text(twin: Twin, sms: MittoSms) -> None:
    await sms.send([message(seq=1)])
    await sms.send([message(seq=1)])
    await sms.send([message(seq=2)])
    stats = await twin.stats("sms")
    assert (stats["accepted"], stats["duplicate_references"], stats["duplicate_texts"]) == (3, 1, 2)
    assert stats["duplicated"] == {str(message(seq=1).reference): 1}
    await twin.post("/config", journal="counts")
    await sms.send([message(seq=3)])
    assert len(await twin.received("sms")) == 3
    assert (await twin.stats("sms"))["accepted"] == 4


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/faults", {"kind": "no_such_fault"}),
        ("/faults", {"kind": "status", "next": 1, "always": True}),
        ("/faults", {"kind": "status", "surprise": 1}),
        ("/faults", {"kind": "status", "provider": "pigeon"}),
        ("/latency", {"ms": -1}),
        ("/clock", {"advance": -5}),
        ("/config", {"sms": {"callbacks": {"batch": 0}}}),
        ("/config", {"smss": {}}),
        ("/inbound", {"provider": "sms"}),
        ("/inbound", {}),
    ],
)
async def test_the_control_api_refuses_what_it_does_not_understand(twin: Twin, path: str, body: object) -> None:
    before = await twin.get("/config")
    answer = await twin.http.post(path, json=body)
    assert answer.status_code == 400, answer.text
    assert json.loads(answer.text)["detail"]
    assert await twin.get("/config") == before


async def test_latency_slows_answers_down(twin: Twin, sms: MittoSms) -> None:
    await twin.post("/latency", provider="sms", ms=150)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await sms.send([message(seq=n) for n in range(10)])
    assert 0.15 <= loop.time() - started < 1.4  # together, not one after the other
    assert await twin.post("/latency", ms=0) == {}
