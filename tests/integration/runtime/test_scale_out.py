"""The scale-out set-up as the README says it: PostgreSQL, Redis, a server, two workers; judged by the twin."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from tests.conftest import free_port
from tests.integration.runtime.conftest import Shell, answers, eventually, get

from callboard_app.demo.people import write_csv
from callboard_app.demo.proof import FAIL_LATER, NEVER_DELIVERED, REFUSED

PEOPLE = 4_000


@pytest.mark.timeout(300)
def test_a_campaign_on_postgresql_and_redis_with_two_workers(shell: Shell, pg_url: str, redis_url: str) -> None:
    twin_port, port = free_port(), free_port()
    twin, url = f"http://127.0.0.1:{twin_port}", f"http://127.0.0.1:{port}"
    shell.environ |= {
        "CALLBOARD_DATABASE_URL": pg_url,
        "CALLBOARD_REDIS_URL": redis_url,
        "CALLBOARD_SECRET_KEY": "scale-out-secret-scale-out-secret",
        "CALLBOARD_PROVIDERS": "sandbox",
        "CALLBOARD_SANDBOX_URL": twin,
        "CALLBOARD_PUBLIC_URL": url,
    }
    shell.start("sandbox", "--port", str(twin_port))
    shell.json("migrate")
    server = shell.start("serve", "--port", str(port))
    workers = shell.start("worker", "--processes", "2", "--threads", "2")
    assert eventually(lambda: answers(f"{url}/health/ready"))
    assert eventually(lambda: answers(f"{twin}/_control/health"))
    assert eventually(lambda: "degraded" not in get(f"{url}/health/ready"))  # Redis answers and workers are seen

    shell.json("tenant", "create", "--slug", "shop", "--name", "Shop", "--credits", "5000")
    imported = shell.json("contacts", "import", str(write_csv(shell.folder / "p.csv", PEOPLE)), "--tenant", "shop")
    assert imported["total"] == PEOPLE
    sent = shell.json(
        "campaign", "send", "--tenant", "shop", "--segment", "all", "--name", "a",
        "--message", "Hi {{firstName|there}}: https://shop.example.com/sale", "--yes",
    )  # fmt: skip
    assert sent["queuedRecipients"] == sent["creditsDebited"] > 2_000
    final = shell.json("campaign", "watch", "a", "--tenant", "shop", "--timeout", "120")
    assert final["status"] == "sent"

    def settled() -> bool:
        counts = get(f"{twin}/_control/stats")["sms"]
        shown = shell.json("campaign", "status", "a", "--tenant", "shop")
        return not counts["callbacks"]["pending"] and not shown["accepted"] and not shown["unknown"]

    assert eventually(settled, 60)
    final = shell.json("campaign", "status", "a", "--tenant", "shop")
    received = get(f"{twin}/_control/received?provider=sms")["received"]
    numbers = Counter(entry["to"] for entry in received)
    assert max(numbers.values()) == 1  # nobody twice
    refused = sent["queuedRecipients"] - len(received)
    failed_later = sum(number.endswith(FAIL_LATER) for number in numbers)
    assert final["delivered"] == sum(not number.endswith(NEVER_DELIVERED) for number in numbers)
    assert final["failed"] == refused + failed_later
    assert not any(number.endswith(REFUSED) for number in numbers)
    assert final["delivered"] + final["failed"] + final["sent"] == sent["queuedRecipients"]
    assert all("{{" not in entry["body"]["sms"]["text"] for entry in received)
    # only what was refused before acceptance came back
    balance = shell.json("tenant", "list")["tenants"][0]["credits"]
    assert balance == 5_000 - sent["creditsDebited"] + refused

    # both processes worked: the twin saw several requests at once, and stopping leaves nothing behind
    for process in (workers, server):
        began = time.monotonic()
        process.terminate()
        assert process.wait(30) == 0
        assert time.monotonic() - began < 25
    assert shell.json("campaign", "status", "a", "--tenant", "shop")["unknown"] == 0
    for log in shell.folder.glob("*.log"):
        text = log.read_text()
        assert "Traceback" not in text, text[-3000:]
        assert not [number for number in list(numbers)[:200] if number in text]  # no phone in any log
