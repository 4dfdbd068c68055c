"""What is logged, by whomever and however, never shows a marked value."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from callboard_app.logs import configure, mask
from callboard_app.settings import load

PHONE = "+919876543210"
MARKS = {
    "password": "pa55-Marked",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtYXJrZWQifQ.c2lnbmF0dXJlLW1hcmtlZA",
    "key": "cb_store_MARKEDmarkedMARKED1234567890",
    "code": "482913",
    "text": "Dear marked customer, your code",
    "mail": "marked.person@example.com",
}


@pytest.fixture(params=["json", "console"])
def log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure(load({"CALLBOARD_LOG_FORMAT": request.param, "CALLBOARD_LOG_LEVEL": "debug"}))
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def shown(log: io.StringIO) -> str:
    text = log.getvalue()
    assert text
    return text


def test_marked_values_do_not_appear_however_they_are_logged(log: io.StringIO) -> None:
    ours = structlog.get_logger("ours")
    library = logging.getLogger("some.library")
    ours.info("message.sent", phone=PHONE, to=PHONE, message_id="a.1")
    ours.info("key.issued", api_key=MARKS["key"], token=MARKS["jwt"], secret="x" + MARKS["password"])
    ours.info("otp.sent", otp=MARKS["code"], code=MARKS["code"], text=MARKS["text"], body={"text": MARKS["text"]})
    ours.info(
        "request.failed",
        url=f"postgresql://me:{MARKS['password']}@db/x",
        headers={"Authorization": f"Bearer {MARKS['jwt']}"},
    )
    ours.info("nested", values=[{"token": MARKS["key"]}, PHONE, (MARKS["mail"],)])
    library.warning(
        "cannot reach %s with %s for %s", f"redis://:{MARKS['password']}@host/0", f"bearer {MARKS['jwt']}", PHONE
    )
    library.error("digits only 919876543210 and %s", MARKS["mail"])
    try:
        marked = PHONE
        raise ValueError(f"[parameters: {{'phone': '{marked}', 'mail': '{MARKS['mail']}'}}]")
    except ValueError:
        ours.exception("loop.failed", loop="relay")
        library.exception("it failed")
    text = shown(log)
    for name, value in MARKS.items():
        assert value not in text, name
    assert PHONE not in text
    assert PHONE[1:] not in text
    assert "message.sent" in text
    assert "ValueError" in text  # what remains is still of use


def test_ids_and_numbers_stay_readable(log: io.StringIO) -> None:
    run = "0198a1b2c3d47e8f9012345678901234"
    structlog.get_logger("x").info(
        "wave.settled", run=f"{run}.17", count=1234567890123, seconds=0.123456789, at="2026-11-20T10:00:00Z"
    )
    assert f"{run}.17" in shown(log)
    assert "1234567890123" in shown(log)
    assert "2026-11-20" in shown(log)


def test_json_lines_are_one_object_per_line_whatever_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure(load({"CALLBOARD_LOG_FORMAT": "json"}))
    structlog.get_logger("x").info("import.done", name='a\r\n{"event":"forged"}\x1b[31m')
    logging.getLogger("y").warning("two\nlines")
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    lines = stream.getvalue().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["import.done", "two\nlines"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+919876543210", "***10"),
        ("to 09876543210.", "to ***10."),
        ("redis://user:pw@h/0", "redis://user:***@h/0"),
        ("no secrets, 42 rows in 1200 ms", "no secrets, 42 rows in 1200 ms"),
        ("0198a1b2-c3d4-7e8f-9012-345678901234", "0198a1b2-c3d4-7e8f-9012-345678901234"),
    ],
)
def test_mask_by_shape(text: str, expected: str) -> None:
    assert mask(text) == expected
