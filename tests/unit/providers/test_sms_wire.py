"""Mitto's table, reports, inbound texts and signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.messages.model import Fact, Reason
from callboard.messages.ports import Ambiguous, NotSent, Refused, SenderBlocked
from callboard_adapters.sms import wire
from callboard_adapters.sms.errors import BY_STATUS, BY_WORD, Verb, refusal

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408, 409, 418, 100])
@pytest.mark.parametrize("readable", [True, False])
def test_a_status_that_proves_nothing_is_ambiguous(status: int, readable: bool) -> None:
    answer = refusal(status, "invalid_destination", 1.0, readable=readable)
    expected = readable and status in {409, 408, 418}  # a 4xx that names its reason is a definite no
    assert isinstance(answer, Refused if expected else Ambiguous)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_nobody_can_read_is_ambiguous_and_a_readable_one_is_final(status: int) -> None:
    assert isinstance(refusal(status, None, None, readable=False), Ambiguous)
    assert refusal(status, "odd", None, readable=True) == Refused(reason=Reason.REFUSED, provider_code="odd")


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 301, 302, 307])
@pytest.mark.parametrize("readable", [True, False])
def test_credentials_money_and_addresses_block_the_sender(status: int, readable: bool) -> None:
    answer = refusal(status, None, None, readable=readable)
    assert isinstance(answer, SenderBlocked)
    assert answer.pause > timedelta(0)
    assert answer.reason


@pytest.mark.parametrize(("asked", "waits"), [(None, 1.0), (7.0, 7.0), (0.0, 0.0), (86_400.0, 3600.0)])
def test_429_waits_as_told_up_to_an_hour_and_burns_nothing(asked: float | None, waits: float) -> None:
    answer = refusal(429, "throttled", asked, readable=True)
    assert answer == NotSent(reason=Reason.PROVIDER_BUSY, provider_code="throttled", retry_after=waits, throttled=True)


def test_a_bad_number_is_named_as_such_in_any_spelling() -> None:
    for code in ("invalid_destination", "InvalidDestination", "INVALID-NUMBER"):
        answer = refusal(400, code, None, readable=True)
        assert answer == Refused(reason=Reason.INVALID_NUMBER, provider_code=code)


def test_no_row_of_the_table_can_be_misread() -> None:
    for rule in (*BY_STATUS.values(), *BY_WORD.values()):
        if rule.verb in {Verb.PAUSE_SENDER, Verb.REAUTH, Verb.STOP}:
            assert rule.says
            assert rule.wait
    assert not any(status >= 500 for status in BY_STATUS)


@pytest.mark.parametrize(
    ("word", "fact"),
    [
        ("Sent", Fact.SENT),
        ("Delivered", Fact.DELIVERED),
        ("DELIVRD", Fact.DELIVERED),
        ("Failure", Fact.FAILED),
        ("failed", Fact.FAILED),
        ("UNDELIVERED", Fact.FAILED),
        ("UNDELIV", Fact.FAILED),
        ("EXPIRED", Fact.FAILED),
        ("Rejected", Fact.FAILED),
        ("Queued", None),
        ("Whatever", None),
        (None, None),
        (7, None),
    ],
)
def test_every_spelling_of_a_report(word: object, fact: Fact | None) -> None:
    read = wire.reports(json.dumps({"messageId": "m1", "deliveryStatus": word}).encode(), now=NOW)
    assert read is not None
    if fact is None:
        assert read == wire.Reports(receipts=(), ignored=1)
    else:
        (receipt,) = read.receipts
        assert (receipt.fact, receipt.provider_message_id, receipt.message_id, receipt.at) == (fact, "m1", None, NOW)
        assert (receipt.reason is Reason.UNDELIVERED) is (fact is Fact.FAILED)
        assert (receipt.provider_code is not None) is (fact is Fact.FAILED)


def test_an_array_holds_many_and_bad_entries_do_not_spoil_the_good_ones() -> None:
    body = json.dumps(
        [
            {"messageId": "a", "deliveryStatus": "Delivered", "updatedAt": "2026-11-20T09:59:00Z"},
            {"deliveryStatus": "Delivered"},
            "text",
            {"messageId": 12345, "deliveryStatus": "Failure", "error": {"code": 27, "message": "absent"}},
            {"messageId": "x" * 300, "deliveryStatus": "Sent"},
            {"messageId": "nul\u0000", "deliveryStatus": "Sent"},
        ]
    ).encode()
    read = wire.reports(body, now=NOW)
    assert read is not None
    assert read.ignored == 4
    first, second = read.receipts
    assert first.at == NOW - timedelta(minutes=1)
    assert (second.provider_message_id, second.provider_code) == ("12345", "27")


@pytest.mark.parametrize("at", ["yesterday", "2099-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", 5, None, ""])
def test_an_odd_time_becomes_now(at: object) -> None:
    read = wire.reports(json.dumps({"messageId": "a", "deliveryStatus": "Sent", "updatedAt": at}).encode(), now=NOW)
    assert read is not None
    assert read.receipts[0].at == NOW


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b"1", b'"x"', b"null", b"[" * 100_000, b'{"a":"\xff"}'])
def test_a_body_that_is_no_report_is_none_and_raises_nothing(body: bytes) -> None:
    assert wire.reports(body, now=NOW) is None
    assert wire.inbound(body) is None
    assert wire.entries(body) is None
    assert wire.error_code(body) == (None, False)


def test_inbound_texts_alone_and_in_arrays() -> None:
    one = {"from": "+306900000000", "to": "Shop", "text": "STOP"}
    expected = wire.InboundSms(from_number="+306900000000", to="Shop", text="STOP")
    assert wire.inbound(json.dumps(one).encode()) == (expected,)
    assert wire.inbound(json.dumps([one, {"text": "nobody"}, 3, {"from": 306900000000}]).encode()) == (
        expected,
        wire.InboundSms(from_number="306900000000", to=None, text=""),
    )


def test_answers_to_sends_in_the_shapes_clients_have_met() -> None:
    assert wire.entries(b'{"messages":[{"messageId":"a","status":"Accepted"},{"status":"Rejected"}]}') == [
        wire.Entry(id="a", status="Accepted", refused=False),
        wire.Entry(id=None, status="Rejected", refused=True),
    ]
    assert wire.entries(b'{"id":"b","status":"Queued"}') == [wire.Entry(id="b", status="Queued", refused=False)]
    assert wire.entries(b'{"messages":[1]}') is None
    assert wire.entries(b'{"hello":1}') is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error":{"code":"x","message":"m"}}', ("x", True)),
        (b'{"error":"invalid_sender"}', ("invalid_sender", True)),
        (b'{"responseCode":4,"responseText":"t"}', ("4", True)),
        (b'{"title":"Bad Request","status":400}', (None, True)),
        (b'{"a":1}', (None, False)),
        (b"<html>", (None, False)),
    ],
)
def test_error_bodies(body: bytes, expected: tuple[str | None, bool]) -> None:
    assert wire.error_code(body) == expected


@given(st.binary(max_size=200), st.text(min_size=1, max_size=40).filter(lambda s: s.isprintable()))
def test_only_the_right_hmac_of_the_raw_bytes_is_a_signature(body: bytes, secret: str) -> None:
    good = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert wire.signed(body, [None, good], secret)
    assert wire.signed(body, [good.encode(), "x"], secret)
    assert not wire.signed(body + b" ", [good], secret)
    assert not wire.signed(body, [good], secret + "x")
    assert not wire.signed(body, [good.upper() if good.upper() != good else ""], secret)
    assert not wire.signed(body, [], secret)


@pytest.mark.parametrize("odd", ["é" * 64, "\udcff" * 64, b"\x80" * 64, "", b"", "\x00", "a" * 1_000_000])
def test_odd_signature_headers_are_wrong_not_errors(odd: str | bytes) -> None:
    assert not wire.signed(b"{}", [odd], "secret")


def test_no_secret_opens_nothing() -> None:
    for secret in (None, ""):
        assert not wire.signed(b"{}", [hmac.new(b"", b"{}", hashlib.sha256).hexdigest()], secret)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda c: st.lists(c, max_size=3)
       | st.dictionaries(st.sampled_from(["messageId", "deliveryStatus", "messages", "error", "from", "text"]), c),
       max_leaves=12))  # fmt: skip
def test_no_json_at_all_makes_parsing_raise(value: object) -> None:
    body = json.dumps(value).encode()
    wire.reports(body, now=NOW)
    wire.inbound(body)
    wire.entries(body)
    wire.error_code(body)
