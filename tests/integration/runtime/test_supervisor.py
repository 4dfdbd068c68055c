"""The supervisor against real processes: dead ones return, stops reach everybody, stubborn ones are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

CHILD = """
import os, signal, sys, time
path, mode = sys.argv[1], sys.argv[2]
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with open(path, "a") as f:
    f.write(f"{os.getpid()}\\n")
if mode == "crash":
    sys.exit(3)
while True:
    time.sleep(0.05)
"""

PARENT = """
import sys
from callboard_app.supervisor import Supervisor
child, path, mode, stop = sys.argv[1:5]
sys.exit(Supervisor(lambda n: [sys.executable, child, path, mode], processes=2, stop_seconds=float(stop)).run())
"""


class Start(Protocol):
    def __call__(self, mode: str, stop: float = ...) -> tuple[subprocess.Popen[bytes], Callable[[], list[int]]]: ...


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"


def eventually(check: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    return True


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    log = tmp_path / "pids"
    log.touch()
    running: list[subprocess.Popen[bytes]] = []

    def _start(mode: str, stop: float = 5.0) -> tuple[subprocess.Popen[bytes], Callable[[], list[int]]]:
        arguments = [sys.executable, "-c", PARENT, str(script), str(log), mode, str(stop)]
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.append(process)
        return process, lambda: [int(line) for line in log.read_text().split()]

    yield _start
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()
    for line in log.read_text().split():
        if alive(int(line)):
            os.kill(int(line), signal.SIGKILL)


def test_a_killed_child_comes_back_and_its_sibling_is_left_alone(start: Start) -> None:
    parent, pids = start("calm")
    assert eventually(lambda: len(pids()) == 2)
    first, second = pids()
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: len(pids()) == 3)
    assert alive(second)
    assert alive(pids()[2])
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(10) == 0
    assert not any(map(alive, pids()))


def test_children_that_crash_at_once_are_not_started_in_a_tight_loop(start: Start) -> None:
    parent, pids = start("crash")
    assert eventually(lambda: len(pids()) >= 4)
    time.sleep(2.5)
    assert len(pids()) <= 2 * 5  # at once, then after 0, 1, 2, 4 … seconds, for each of two
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(10) == 0


def test_a_child_that_does_not_stop_is_killed_and_the_exit_code_says_so(start: Start) -> None:
    parent, pids = start("stubborn", 1.0)
    assert eventually(lambda: len(pids()) == 2)
    started = time.monotonic()
    parent.send_signal(signal.SIGINT)
    assert parent.wait(10) == 1
    assert 0.9 < time.monotonic() - started < 5
    assert not any(map(alive, pids()))
