"""The example that embeds the core runs on a bare installation and tells the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXTRAS = (
    *("aiohttp", "aiosqlite", "alembic", "click", "cryptography", "dramatiq", "httpx", "litestar", "msgspec"),
    *("psycopg", "redis", "rich", "sqlalchemy", "structlog", "uvicorn", "uuid_utils"),
)
RUN = f"""
import runpy, sys
runpy.run_path({str(ROOT / "examples" / "embed_core.py")!r}, run_name="__main__")
loaded = sorted(set({EXTRAS!r}) & {{name.partition(".")[0] for name in sys.modules}})
assert not loaded, loaded
"""


@pytest.fixture(scope="module")
def told() -> str:
    """What it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_gate_gives_one_reason_for_each_decision(told: str) -> None:
    assert "opted_in at 06:00 UTC: send (cleared)" in told
    assert "opted_in at 17:00 UTC: hold until 03:30 UTC (quiet_hours)" in told
    assert "opted_out at 06:00 UTC: skip (opted_out)" in told


def test_preview_enqueue_and_ledger_say_the_same_number(told: str) -> None:
    assert "Preview: 5 recipients, 5 of 10 credits" in told
    assert "Enqueued: 5 recipients, 5 credits debited" in told
    assert "5 recipients: skipped 1, failed 1, delivered 3" in told


def test_the_campaign_is_sent_when_nothing_is_left(told: str) -> None:
    assert "the campaign is sending" in told
    assert "Five minutes later it is sent" in told


def test_every_message_says_why(told: str) -> None:
    assert re.search(r"Bela:\n.*the contact opted out of marketing \(opted_out\)", told)
    assert re.search(r"Devi:\n.*does not use this channel \(not_on_channel\)", told)
    assert re.search(r"Asha:\n +It was delivered\.", told)
    for stranger in ("Carl", "Fay", "Hema"):
        assert f"{stranger}:\n" not in told


def test_no_placeholder_is_left_and_links_are_short(told: str) -> None:
    assert "{{" not in told
    assert re.search(
        r"Hi Asha, .*\n  \| https://shop\.example/r/\S+\n  \| .*https://shop\.example/unsubscribe/\S{32}", told
    )


def test_the_account_adds_up(told: str) -> None:
    account = told[told.index("The account") : told.index("balance =")]
    amounts = [int(n) for n in re.findall(r"^ +([+-]\d+)  ", account, re.MULTILINE)]
    assert sorted(amounts) == [-5, 1, 1, 10]
    assert f"{sum(amounts):>4}  balance" in told
