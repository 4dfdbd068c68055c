"""One worker process: ``callboard worker``."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog
import uvloop

from callboard_adapters.jobs.runtime import Pace, WorkerRuntime
from callboard_app.bootstrap import bootstrap, wait_for_schema
from callboard_app.settings import Settings

_log = structlog.get_logger(__name__)
HARD_STOP_SECONDS: Final = 24.0


def worker_name(number: int = 0) -> str:
    """Unique among the workers that live now: host, process and number."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{number}"


def run_worker(settings: Settings, *, number: int = 0, threads: int | None = None, parent: int | None = None) -> int:
    """Work until SIGTERM or SIGINT, or until the supervisor ``parent`` is gone; returns the exit code.

    Ends within 25 s whatever is down: what does not close in time is left behind, because the database holds the work.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        clean = runner.run(_work(settings, number=number, threads=threads, parent=parent))
    # Dramatiq's and resolver threads may still wait for a Redis that is down; nothing they hold matters.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if clean else 1)


async def _work(settings: Settings, *, number: int, threads: int | None, parent: int | None) -> bool:
    stop = asyncio.Event()
    runtimes: list[WorkerRuntime] = []

    def request_stop() -> None:
        if not stop.is_set():
            stop.set()
            watchdog = threading.Timer(HARD_STOP_SECONDS, _give_up)
            watchdog.daemon = True
            watchdog.start()
        for runtime in runtimes:
            runtime.request_stop()

    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, request_stop)
    guard = asyncio.create_task(_watch(parent, request_stop)) if parent is not None else None
    try:
        async with bootstrap(settings) as container:
            if not await wait_for_schema(container, stop):
                return True
            pace = Pace(dispatchers=threads or settings.dispatchers)
            runtime = container.runtime(name=worker_name(number), pace=pace)
            runtimes.append(runtime)
            if stop.is_set():
                return True
            return await runtime.run()
    finally:
        if guard is not None:
            guard.cancel()
            with suppress(asyncio.CancelledError):
                await guard


async def _watch(parent: int, request_stop: Callable[[], None]) -> None:
    """An orphan stops: its supervisor was killed and somebody may start another one."""
    while os.getppid() == parent:  # noqa: ASYNC110 - the kernel offers no portable event for it
        await asyncio.sleep(0.5)
    _log.warning("worker.orphaned", parent=parent)
    request_stop()


def _give_up() -> None:
    _log.error("worker.cut_off", seconds=HARD_STOP_SECONDS)
    os._exit(1)
