"""The demo as people start it."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.request

import pytest
from tests.conftest import free_port
from tests.integration.runtime.conftest import Shell, answers, eventually, get


def test_once_proves_every_number_and_ends_with_zero(shell: Shell) -> None:
    report = shell.json("demo", "--once", "--contacts", "1500", "--port", str(free_port()))
    assert report["ok"] is True
    assert len(report["checks"]) == 17
    assert all(check["holds"] for check in report["checks"])
    assert report["imported"]["total"] == 1_500
    assert sum(report["states"].values()) == report["recipients"] > 300
    assert report["states"]["delivered"] > 300
    assert report["states"]["failed"] > 0
    assert set(report["rates"]) == {"enqueued_per_second", "sent_per_second"}
    assert not (shell.folder / "callboard.db").exists()  # nothing is left behind without --data


def test_it_is_readable_without_a_terminal(shell: Shell) -> None:
    done = shell.run("demo", "--once", "--contacts", "200", "--port", str(free_port()), "--surface", "store")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "Import contacts.csv",
        "gender_female",
        "Winter sale",
        "delivered",
        "credits",
        "Every number adds up.",
    ):
        assert words in done.stdout, words
    assert "\x1b[" not in done.stdout


def test_it_keeps_serving_with_the_printed_credentials_until_it_is_stopped(shell: Shell) -> None:
    data = shell.folder / "kept"
    process = shell.start("demo", "--contacts", "200", "--port", str(free_port()), "--data", str(data), "--json")
    log = shell.folder / "demo-0.log"
    assert eventually(lambda: '"ok": true' in log.read_text(), 60), log.read_text()
    report = json.loads(next(line for line in log.read_text().splitlines() if line.startswith('{"tenant"')))
    url = report["addresses"]["api"]
    for credential in report["credentials"].values():
        request = urllib.request.Request(f"{url}/store/dashboard", headers={"Authorization": f"Bearer {credential}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            board = json.loads(answer.read())["data"]
        assert board["credits"] == report["credits"]["after"]
        assert board["totalContacts"] == report["imported"]["created"]
    assert get(f"{report['addresses']['twin']}")["total"] > 0
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert time.monotonic() - began < 15
    assert not answers(f"{url}/health/live")
    assert (data / "callboard.db").exists()
    assert not [line for line in (data / "serve.log").read_text().splitlines() if '"level": "error"' in line]


@pytest.mark.timeout(300)
def test_once_ends_with_one_when_a_number_does_not_add_up(shell: Shell) -> None:
    process = shell.start("demo", "--once", "--contacts", "3000", "--port", str(free_port()))
    log = shell.folder / "demo-0.log"

    def twin() -> str | None:
        found = re.search(r"provider twin (http://127\.0\.0\.1:\d+)", log.read_text())
        return found[1] if found else None

    assert eventually(lambda: twin() is not None, 60), log.read_text()
    fault = {"provider": "sms", "kind": "reset_after", "next": 3}  # taken, but we never hear of it
    request = urllib.request.Request(
        f"{twin()}/_control/faults", data=json.dumps(fault).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status < 300
    assert process.wait(200) == 1, log.read_text()
    assert "A number does not add up." in log.read_text()
