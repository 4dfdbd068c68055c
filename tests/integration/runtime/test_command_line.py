"""Every command as a script calls it: one JSON object, exit codes, and refusals that say what to do."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest
from tests.integration.chaos.stack import free_port
from tests.integration.runtime.conftest import Shell, answers, eventually, get

from callboard.messages.model import State
from callboard_app.commands import COMMANDS, help_text
from callboard_app.demo.people import write_csv


def test_help_lists_every_command_and_costs_little_more_than_the_interpreter(shell: Shell) -> None:
    done = shell.run("--help")
    assert done.returncode == 0
    assert done.stdout == help_text()
    assert all(name in done.stdout for name in COMMANDS)

    def best(*words: str) -> float:
        times = []
        for _ in range(7):
            began = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        return min(times)

    ours, bare = best("-m", "callboard_app", "--help"), best("-c", "pass")
    assert ours < 2.5 * bare, (ours, bare)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_each_command_explains_itself(shell: Shell, name: str) -> None:
    done = shell.run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: callboard ")
    assert not (shell.folder / "callboard.db").exists()  # asking changes nothing


def test_an_unknown_command_or_option_is_a_usage_error(shell: Shell) -> None:
    for words in (["serv"], ["tenant", "create"], ["tenant", "list", "--nope"], ["key", "create", "--surface", "shop"]):
        assert shell.run(*words).returncode == 2, words
    assert "serve" in shell.run("serv").stderr


def test_tenants_credits_and_settings(shell: Shell) -> None:
    made = shell.json(
        "tenant", "create", "--slug", "shop", "--name", "Shop", "--credits", "7", "--timezone", "Europe/London"
    )
    assert set(made) == {"id", "slug"}
    UUID(made["id"])
    again = shell.json("tenant", "create", "--slug", "shop", "--name", "Shop", code=1)
    assert again["error"] == "ALREADY_EXISTS"
    assert shell.json("tenant", "credit", "shop", "5", "--reason", "gift")["credits"] == 12
    listed = shell.json("tenant", "list")
    assert listed["total"] == 1
    assert listed["tenants"][0] | {"id": made["id"]} == {
        "id": made["id"],
        "slug": "shop",
        "name": "Shop",
        "region": "IN",
        "timezone": "Europe/London",
        "credits": 12,
    }
    assert shell.json("tenant", "set", "shop", "channel", stdin="whatsapp\n") == {
        "slug": "shop",
        "key": "channel",
        "secret": False,
        "removed": False,
    }
    assert shell.json("tenant", "set", "shop", "channel", stdin="pigeon", code=1)["error"] == "VALIDATION_ERROR"
    assert shell.json("tenant", "set", "shop", "CALLBOARD_SMS_API_KEY", stdin="geheim-1234")["secret"] is True
    assert b"geheim-1234" not in (shell.folder / "callboard.db").read_bytes()
    unknown = shell.run("tenant", "set", "shop", "COLOUR", stdin="red")
    assert unknown.returncode == 2
    assert "CALLBOARD_SMS_API_KEY" in unknown.stderr


def test_an_unknown_tenant_is_refused_with_the_names_there_are(shell: Shell) -> None:
    assert "tenant create" in shell.json("key", "list", "--tenant", "nobody", code=1)["advice"]
    shell.json("tenant", "create", "--slug", "shop", "--name", "Shop")
    answer = shell.json("contacts", "import", str(write_csv(shell.folder / "p.csv", 1)), code=1)
    assert answer["error"] == "NOT_FOUND"
    assert "default" in answer["message"]
    assert "shop" in answer["advice"]


def test_keys_and_tokens(shell: Shell) -> None:
    shell.json("tenant", "create", "--slug", "shop", "--name", "Shop")
    made = shell.json("key", "create", "--tenant", "shop", "--surface", "store", "--surface", "bot", "--scope", "read")
    assert set(made) == {"id", "key"}
    successor = shell.json("key", "rotate", made["id"], "--tenant", "shop", "--overlap", "0")
    assert successor["key"] != made["key"]
    listed = shell.json("key", "list", "--tenant", "shop")["keys"]
    assert {k["id"]: k["state"] for k in listed} == {made["id"]: "revoked", successor["id"]: "active"}
    assert listed[0]["surfaces"] == ["bot", "store"]
    assert made["key"] not in json.dumps(listed)
    assert shell.json("key", "revoke", successor["id"], "--tenant", "shop")["revoked"] is True
    assert shell.json("key", "list", "--tenant", "shop")["keys"][0]["state"] == "revoked"
    assert (
        shell.json("key", "revoke", "0198a1b2-0000-7000-8000-000000000000", "--tenant", "shop", code=1)["error"]
        == "NOT_FOUND"
    )
    assert shell.json("key", "revoke", "x", "--tenant", "shop", code=1)["error"] == "VALIDATION_ERROR"
    token = shell.json("token", "issue", "--tenant", "shop", "--user", "u1", "--surface", "store", "--ttl", "60")[
        "token"
    ]
    assert token.count(".") == 2


def test_import_counts_every_row_once_and_a_dry_run_says_the_same_and_changes_nothing(shell: Shell) -> None:
    shell.json("tenant", "create", "--slug", "shop", "--name", "Shop")
    file = str(write_csv(shell.folder / "people.csv", 800))
    dry = shell.json("contacts", "import", file, "--tenant", "shop", "--dry-run")
    assert set(dry) == {"total", "created", "updated", "skipped", "invalid", "errors"}
    assert dry["total"] == 800 == dry["created"] + dry["updated"] + dry["skipped"] + dry["invalid"]
    assert dry["skipped"] > 0
    assert dry["invalid"] > 0
    assert len(dry["errors"]) == dry["skipped"] + dry["invalid"]
    assert set(dry["errors"][0]) == {"row", "field", "value", "reason"}
    real = shell.json("contacts", "import", file, "--tenant", "shop")
    assert real == dry
    again = shell.json("contacts", "import", file, "--tenant", "shop")
    assert (again["created"], again["updated"]) == (0, real["created"])
    words = shell.run("contacts", "import", file, "--tenant", "shop")
    assert words.returncode == 0
    assert "800 rows" in words.stdout


def test_a_file_that_is_no_table_is_refused(shell: Shell) -> None:
    shell.json("tenant", "create", "--slug", "shop", "--name", "Shop")
    (shell.folder / "x.xlsx").write_bytes(b"PK\x03\x04 no workbook")
    (shell.folder / "y.csv").write_text("a,b\n1,2\n")
    for name in ("x.xlsx", "y.csv"):
        assert shell.json("contacts", "import", name, "--tenant", "shop", code=1)["error"] == "VALIDATION_ERROR"
    assert shell.run("contacts", "import", "nowhere.csv", "--tenant", "shop").returncode == 2


def test_migrate_and_doctor(shell: Shell) -> None:
    first = shell.json("migrate")
    assert first["changed"] is True
    assert shell.json("migrate") == {"revision": first["revision"], "changed": False}
    report = shell.json("doctor")
    assert report["ok"] is True
    assert {f["part"] for f in report["findings"]} >= {"database", "broker", "providers", "workers", "secret key"}
    assert all(f["advice"] for f in report["findings"] if f["verdict"] != "ok")
    bad = shell.json("doctor", code=1, CALLBOARD_RATE_LIMIT="fast")
    assert bad["findings"][0]["part"] == "settings"
    down = shell.json("doctor", code=1, CALLBOARD_DATABASE_URL="postgresql://x:geheim@127.0.0.1:9/x")
    assert "geheim" not in json.dumps(down)
    assert next(f for f in down["findings"] if f["part"] == "database")["verdict"] == "error"


def test_a_bad_setting_ends_every_command_by_name(shell: Shell) -> None:
    for words in (["tenant", "list"], ["serve"], ["worker"], ["migrate"]):
        done = shell.run(*words, CALLBOARD_RECONCILE_SECONDS="soon")
        assert done.returncode == 1, words
        assert "CALLBOARD_RECONCILE_SECONDS" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_secret_key_is_made_once_kept_private_and_required_in_production(shell: Shell) -> None:
    shell.json("tenant", "create", "--slug", "shop", "--name", "Shop")
    file = shell.folder / ".callboard-secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    shell.json("tenant", "list")
    assert file.read_bytes() == before
    for secret in ({}, {"CALLBOARD_SECRET_KEY": "short"}):
        refused = shell.run("tenant", "list", CALLBOARD_ENV="production", **secret)
        assert refused.returncode == 1
        assert "CALLBOARD_SECRET_KEY" in refused.stderr
        assert "secrets.token_urlsafe" in refused.stderr
    assert shell.run("tenant", "list", CALLBOARD_ENV="production", CALLBOARD_SECRET_KEY="k" * 32).returncode == 0


def test_postgresql_is_not_migrated_behind_the_operators_back(shell: Shell, pg_url: str) -> None:
    shell.environ["CALLBOARD_DATABASE_URL"] = pg_url
    refused = shell.json("tenant", "list", code=1)
    assert refused["error"] == "SCHEMA_OUTDATED"
    assert "callboard migrate" in refused["advice"]
    assert shell.json("migrate")["changed"] is True
    assert shell.json("tenant", "list")["total"] == 0


def test_the_default_tenant_comes_from_the_environment(shell: Shell) -> None:
    assert shell.json("tenant", "list", CALLBOARD_SMS_SENDER="Shop", CALLBOARD_DEFAULT_CREDITS="40")["tenants"][0] == {
        **shell.json("tenant", "list")["tenants"][0],
        "slug": "default",
        "credits": 40,
    }
    assert shell.json("tenant", "list", CALLBOARD_SMS_SENDER="Other")["tenants"][0]["credits"] == 40  # once only


def test_send_watch_why_and_cancel(shop: Shell) -> None:
    file = write_csv(shop.folder / "people.csv", 400)
    shop.json("contacts", "import", str(file), "--tenant", "shop")
    text = "Hi {{firstName|there}}: https://shop.example.com/sale"
    preview = shop.json(
        "campaign", "send", "--tenant", "shop", "--segment", "all", "--name", "a", "--message", text, "--dry-run"
    )
    assert preview["recipients"] > 200
    assert preview["enough"] is True
    asked = shop.run("campaign", "send", "--tenant", "shop", "--segment", "all", "--name", "a", "--message", text)
    assert asked.returncode == 1
    assert "--yes" in asked.stderr
    wrong = shop.json(
        "campaign", "send", "--tenant", "shop", "--segment", "womem", "--name", "a", "--message", text, "--yes", code=1
    )
    assert "gender_female" in wrong["advice"]
    sent = shop.json(
        "campaign", "send", "--tenant", "shop", "--segment", "all", "--name", "a", "--message", text, "--yes"
    )
    assert sent["queuedRecipients"] == sent["creditsDebited"] == preview["recipients"]
    second = shop.json(
        "campaign", "send", "--tenant", "shop", "--segment", "gender_male", "--name", "b", "--message", text, "--yes"
    )
    cancelled = shop.json("campaign", "cancel", "b", "--tenant", "shop")
    assert cancelled["status"] == "cancelled"
    assert cancelled["cancelled"] == second["queuedRecipients"]
    assert shop.json("campaign", "pause", "a", "--tenant", "shop")["status"] == "paused"
    assert shop.json("campaign", "resume", "a", "--tenant", "shop")["status"] == "sending"
    shop.start("worker")
    final = shop.json("campaign", "watch", "a", "--tenant", "shop", "--timeout", "60")
    assert final["status"] == "sent"
    assert final["queued"] == final["sending"] == 0
    assert sum(final[s] for s in _STATES) == final["recipients"] == sent["queuedRecipients"]
    rows = shop.json("campaign", "list", "--tenant", "shop")
    assert [row["name"] for row in rows["campaigns"]] == ["b", "a"]
    why = shop.json("why", f"{final['run']}.1", "--tenant", "shop")
    assert why["campaign_name"] == "a"
    assert why["explanation"]
    same = shop.json("why", why["contact"], "a", "--tenant", "shop")
    assert same["message"] == why["message"]
    words = shop.run("why", why["message"], "--tenant", "shop")
    assert words.returncode == 0
    assert words.stdout.startswith(why["explanation"][0])
    assert shop.json("why", "17", "--tenant", "shop", code=1)["error"] == "VALIDATION_ERROR"
    assert shop.json("dead", "list") == {"items": [], "total": 0}
    assert shop.json("dead", "replay", "0198a1b2-0000-7000-8000-000000000000", code=1)["error"] == "NOT_FOUND"


_STATES = tuple(state.value for state in State)


def test_why_says_what_kept_somebody_out(shop: Shell) -> None:
    file = shop.folder / "people.csv"
    file.write_text(
        "phone,firstName,gender,smsConsent\n9876500001,A,female,opted_in\n9876500002,B,female,opted_out\n"
        "9876500003,C,female,unknown\n9876500004,D,male,opted_in\n"
    )
    shop.json("contacts", "import", str(file), "--tenant", "shop")
    sent = shop.json(
        "campaign", "send", "--tenant", "shop", "--segment", "gender_female", "--name", "n", "--message", "Hi", "--yes"
    )
    assert sent["queuedRecipients"] == 1
    found = {n: shop.json("why", f"987650000{n}", "n", "--tenant", "shop")["reason"] for n in (2, 3, 4)}
    assert found == {2: "opted_out", 3: "consent_missing", 4: "not_in_audience"}
    file.write_text("phone,firstName,gender,smsConsent\n9876500005,E,female,opted_in\n")
    shop.json("contacts", "import", str(file), "--tenant", "shop")
    assert shop.json("why", "9876500005", "n", "--tenant", "shop")["reason"] == "joined_later"
    assert shop.json("why", "9876500001", "n", "--tenant", "shop")["state"] == "queued"


def test_a_campaign_can_be_scheduled_and_a_message_previewed(shop: Shell) -> None:
    shop.json("contacts", "import", str(write_csv(shop.folder / "p.csv", 60)), "--tenant", "shop")
    words = (
        "campaign",
        "send",
        "--tenant",
        "shop",
        "--segment",
        "all",
        "--name",
        "later",
        "--message",
        "Hi {{nickname}}",
    )
    planned = shop.json(*words, "--at", "2099-01-31T09:00+05:30", "--yes")
    assert planned["status"] == "scheduled"
    shown = shop.json("campaign", "status", "later", "--tenant", "shop")
    assert shown["nextRunAt"].startswith("2099-01-31T03:30:00")
    assert shown["recipients"] == 0
    assert shop.json("campaign", "cancel", "later", "--tenant", "shop")["status"] == "cancelled"
    for bad in ("tomorrow", "2099-01-31T09:00"):
        assert shop.run(*words, "--at", bad, "--yes").returncode == 2
    seen = shop.run(*words[:7], "x", *words[8:], "--dry-run")
    assert seen.returncode == 0
    assert "nickname" in seen.stderr
    assert "recipients" in seen.stderr


def test_not_enough_credits_is_refused_with_how_to_get_some(shop: Shell) -> None:
    shop.json("tenant", "create", "--slug", "poor", "--name", "Poor", "--credits", "0")
    shop.json("contacts", "import", str(write_csv(shop.folder / "p.csv", 60)), "--tenant", "poor")
    answer = shop.json(
        "campaign", "send", "--tenant", "poor", "--segment", "all", "--name", "n", "--message", "Hi", "--yes", code=1
    )
    assert answer["error"] == "INSUFFICIENT_CREDITS"
    assert "tenant credit" in answer["advice"]


def test_serve_is_ready_stops_gracefully_and_the_sandbox_answers(shop: Shell) -> None:
    port = shop.environ["CALLBOARD_PUBLIC_URL"].rpartition(":")[2]
    server = shop.start("serve", "--port", port)
    url = f"http://127.0.0.1:{port}"
    assert eventually(lambda: answers(f"{url}/health/ready"))
    assert eventually(lambda: "degraded" not in get(f"{url}/health/ready"))  # the embedded worker is seen
    assert get(f"{url}/health/live")["status"] == "live"
    began = time.monotonic()
    server.terminate()
    assert server.wait(20) == 0
    assert time.monotonic() - began < 10


def test_a_server_that_cannot_start_says_why(shell: Shell, tmp_path: Path) -> None:
    done = shell.run("serve", "--port", "18999", CALLBOARD_ENV="production")
    assert done.returncode == 1
    assert "CALLBOARD_SECRET_KEY" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_shop_without_a_provider_is_told_what_holds_its_campaign(shell: Shell) -> None:
    shell.json("tenant", "create", "--slug", "bare", "--name", "Bare")
    file = shell.folder / "one.csv"
    file.write_text("phone,smsConsent\n9876500001,yes\n")
    shell.json("contacts", "import", str(file), "--tenant", "bare")
    shell.json("campaign", "send", "--tenant", "bare", "--segment", "all", "--name", "n", "--message", "Hi", "--yes")
    port = str(free_port())
    shell.start("serve", "--port", port)  # the embedded worker meets the missing credentials

    def held() -> str:
        return str(shell.json("campaign", "status", "n", "--tenant", "bare")["heldBecause"])

    assert eventually(lambda: "CALLBOARD_SMS_API_KEY" in held(), 30)
    why = shell.json("why", "9876500001", "n", "--tenant", "bare")
    assert why["state"] == "queued"
    assert "CALLBOARD_SMS_API_KEY" in why["explanation"][-1]
