"""Several worker processes under one: dead ones come back, a stop reaches all of them, none outlives its parent."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import structlog

_log = structlog.get_logger(__name__)
STOP_SECONDS: Final = 25.0
LONGEST_PAUSE: Final = 10.0
HEALTHY_SECONDS: Final = 30.0


@attrs.define(kw_only=True)
class _Child:
    number: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    quick_deaths: int = 0
    not_before: float = 0.0


class Supervisor:
    """Keeps one process per command line running until :meth:`stop`.

    A child that dies is started again at once; one that dies within 30 s again and again waits 1, 2, 4 … 10 s.
    SIGTERM or SIGINT here asks the children to stop; after 25 s what is left is killed.
    """

    def __init__(
        self, command: Callable[[int], Sequence[str]], *, processes: int, stop_seconds: float = STOP_SECONDS
    ) -> None:
        self._command = command
        self._children = [_Child(number=n) for n in range(processes)]
        self._stop_seconds = stop_seconds
        self._stopping = False

    @property
    def pids(self) -> list[int]:
        """The children that run now."""
        return [c.process.pid for c in self._children if c.process is not None and c.process.poll() is None]

    def stop(self, *_signal: object) -> None:
        """Let :meth:`run` end."""
        self._stopping = True

    def run(self) -> int:
        """Until asked to stop; 0 when every child ended by itself, 1 when one had to be killed."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)
        while not self._stopping:
            for child in self._children:
                self._keep(child)
            time.sleep(0.1)
        return self._end()

    def _keep(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is not None:
            code = child.process.poll()
            if code is None:
                return
            lived = now - child.started
            child.quick_deaths = child.quick_deaths + 1 if lived < HEALTHY_SECONDS else 0
            pause = 0.0 if child.quick_deaths <= 1 else min(2.0 ** (child.quick_deaths - 2), LONGEST_PAUSE)
            child.not_before = now + pause
            child.process = None
            _log.warning("worker.died", number=child.number, exit_code=code, lived=round(lived, 1), restart_in=pause)
        if now >= child.not_before and not self._stopping:
            child.process = subprocess.Popen(list(self._command(child.number)))  # noqa: S603 - our own interpreter and module
            child.started = now
            _log.info("worker.spawned", number=child.number, pid=child.process.pid)

    def _end(self) -> int:
        running = [c.process for c in self._children if c.process is not None and c.process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._stop_seconds
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.error("worker.killed", pid=process.pid)
                process.kill()
                process.wait()
        return int(any(process.returncode != 0 for process in running))
