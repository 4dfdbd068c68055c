"""A worker inside another process: its own thread, its own event loop, its own connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import structlog

from callboard_adapters.jobs.runtime import WorkerRuntime

_log = structlog.get_logger(__name__)


class EmbeddedWorker:
    """Runs ``open_runtime()`` in a thread until :meth:`stop`.

    ``open_runtime`` is entered inside the thread's event loop, so that engines and HTTP clients belong to that loop.
    """

    def __init__(
        self,
        open_runtime: Callable[[], AbstractAsyncContextManager[WorkerRuntime]],
        *,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        self._open = open_runtime
        self._loop_factory = loop_factory
        self._runtime: WorkerRuntime | None = None
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._stopped_early = False
        self._thread = threading.Thread(target=self._main, name="callboard-worker", daemon=True)

    def start(self, timeout: float = 30.0) -> None:
        """Return when the worker runs; raises what kept it from starting."""
        self._thread.start()
        if not self._ready.wait(timeout):
            msg = f"The embedded worker did not start within {timeout:.0f} s"
            raise TimeoutError(msg)
        if self._error is not None:
            raise self._error

    def request_stop(self) -> None:
        """Ask for a graceful end and do not wait; safe in a signal handler."""
        self._stopped_early = True
        if self._runtime is not None:
            self._runtime.request_stop()

    def stop(self, timeout: float = 25.0) -> bool:
        """Ask for a graceful end and wait; False when the time was over first (the thread dies with the process)."""
        self.request_stop()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._live())
        except BaseException as error:  # noqa: BLE001 - handed to start(), or logged when nobody waits any more
            if self._ready.is_set():
                _log.error("worker.died", error=type(error).__name__, exc_info=error)
            self._error = error
        finally:
            self._ready.set()

    async def _live(self) -> None:
        async with self._open() as runtime:
            self._runtime = runtime
            if self._stopped_early:
                return
            self._ready.set()
            await runtime.run()
