"""The demo's processes: the provider twin and the server with its embedded jobs, as a user would start them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

START_SECONDS: Final = 30.0


class StageError(Exception):
    """A process did not come up; the message ends with the last lines of its log."""


def free_port(wanted: int) -> int:
    """``wanted`` if nobody listens there, else one the system picks."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StageError("No free port on 127.0.0.1")


class Stage:
    """Starts ``callboard sandbox`` and ``callboard serve`` with their logs in ``folder``; stops both on leaving."""

    def __init__(self, folder: Path, *, port: int, sandbox_port: int) -> None:
        self.folder = folder
        self.port, self.sandbox_port = free_port(port), free_port(sandbox_port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.twin = f"http://127.0.0.1:{self.sandbox_port}"
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process part of this stage; nothing of the caller's own installation shines through."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLBOARD_")}
        return kept | {
            "CALLBOARD_DATABASE_URL": f"sqlite:///{self.folder / 'callboard.db'}",
            "CALLBOARD_PROVIDERS": "sandbox",
            "CALLBOARD_SANDBOX_URL": self.twin,
            "CALLBOARD_PUBLIC_URL": self.url,
            "CALLBOARD_LOG_FORMAT": "json",
            "CALLBOARD_RATE_LIMIT": "0",
        }

    async def __aenter__(self) -> Self:
        try:
            self._start("sandbox", ["--port", str(self.sandbox_port)])
            await self._ready("sandbox", f"{self.twin}/_control/health")
        except BaseException:
            await asyncio.to_thread(self._stop)
            raise
        return self

    async def serve(self) -> None:
        """Start the server and wait until it is ready."""
        self._start("serve", ["--port", str(self.port)])
        await self._ready("serve", f"{self.url}/health/ready")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._stop)

    async def wait(self) -> None:
        """Until one of the processes ends."""
        while self.alive():  # noqa: ASYNC110 - a child's end is no event on every platform
            await asyncio.sleep(0.5)

    def alive(self) -> bool:
        """Whether every process still runs."""
        return all(process.poll() is None for _, process in self._processes)

    def log_of(self, name: str) -> Path:
        """Where a process writes."""
        return self.folder / f"{name}.log"

    async def get(self, url: str) -> Any:
        """JSON of one of our own processes."""
        return await asyncio.to_thread(_get, url)

    async def received(self) -> list[Mapping[str, Any]]:
        """The twin's journal of text messages."""
        entries: list[Mapping[str, Any]] = []
        while True:
            page = await self.get(f"{self.twin}/_control/received?provider=sms&since={len(entries)}&limit=5000")
            entries.extend(page["received"])
            if not page["received"]:
                return entries

    async def twin_counts(self) -> Mapping[str, Any]:
        """The twin's numbers for text messages."""
        counts: Mapping[str, Any] = (await self.get(f"{self.twin}/_control/stats"))["sms"]
        return counts

    async def follow(self, url: str) -> str | None:
        """Where a short link redirects to."""
        return await asyncio.to_thread(_follow, url)

    def _start(self, command: str, arguments: Sequence[str]) -> None:
        with self.log_of(command).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "callboard_app", command, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop them in order
            )
        self._processes.append((command, process))

    async def _ready(self, name: str, url: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                await self.get(url)
            except OSError:
                if not self.alive() or time.monotonic() > deadline:
                    log = self.log_of(name).read_text(errors="replace")[-2000:]
                    raise StageError(f"`callboard {name}` did not start:\n{log}") from None
                await asyncio.sleep(0.05)
            else:
                return

    def _stop(self) -> None:
        for _, process in reversed(self._processes):
            process.terminate()
        for _, process in reversed(self._processes):
            try:
                process.wait(12)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class _Still(urllib.request.HTTPRedirectHandler):
    """Does not follow."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


_plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_still = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Still())


def _get(url: str) -> Any:
    with _plain.open(url, timeout=10) as answer:
        return json.loads(answer.read())


def _follow(url: str) -> str | None:
    request = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0 (callboard demo)"})  # noqa: S310
    try:
        with _still.open(request, timeout=10):
            return None
    except urllib.error.HTTPError as answer:
        return answer.headers.get("Location") if answer.code == 302 else None
