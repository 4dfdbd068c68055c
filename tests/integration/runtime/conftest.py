"""The command line as scripts use it, and processes that are stopped whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.conftest import free_port


@attrs.define
class Shell:
    """A working directory with its own settings. ``environ`` is all a command sees of the world besides PATH."""

    folder: Path
    environ: dict[str, str]
    running: list[subprocess.Popen[bytes]] = attrs.Factory(list)

    def run(self, *words: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "callboard_app", *words],
            cwd=self.folder,
            env=self._environ(environ),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, *words: str, stdin: str = "", code: int = 0, **environ: str) -> dict[str, Any]:
        """One command with --json: exactly one object on standard output and nothing else there."""
        done = self.run(*words, "--json", stdin=stdin, **environ)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert done.stdout.count("\n") == 1, done.stdout
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def start(self, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        """A command that stays; its output goes to ``<command>-<n>.log``."""
        log = self.folder / f"{words[0]}-{len(self.running)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "callboard_app", *words],
                cwd=self.folder,
                env=self._environ(environ),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        self.running.append(process)
        return process

    def _environ(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "CALLBOARD_LOG_FORMAT": "json", **self.environ, **more}

    def stop_all(self) -> None:
        """End everything that was started."""
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """An empty directory with the embedded default."""
    shell = Shell(tmp_path, {})
    yield shell
    shell.stop_all()


@pytest.fixture
def shop(shell: Shell) -> Iterator[Shell]:
    """The embedded default with the provider twin running and a tenant ``shop`` that has 5,000 credits."""
    port = free_port()
    shell.environ |= {
        "CALLBOARD_PROVIDERS": "sandbox",
        "CALLBOARD_SANDBOX_URL": f"http://127.0.0.1:{port}",
        "CALLBOARD_PUBLIC_URL": f"http://127.0.0.1:{free_port()}",
    }
    shell.start("sandbox", "--port", str(port))
    shell.json("tenant", "create", "--slug", "shop", "--name", "Shop", "--credits", "5000")
    assert eventually(lambda: answers(f"http://127.0.0.1:{port}/_control/health"))
    yield shell


def get(url: str) -> Any:
    """JSON behind an address."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())


def answers(url: str) -> bool:
    """Whether it says 200."""
    try:
        get(url)
    except OSError:
        return False
    return True


def eventually(check: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether ``check`` comes true in time."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
