"""One worker: the loops that carry out what the database says, and their graceful end."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from typing import Final, Protocol
from uuid import UUID

import attrs
import dramatiq
import structlog
from dramatiq import Broker

from callboard_adapters.jobs.actors import register_actors

_log = structlog.get_logger(__name__)
MAX_BACKOFF: Final = 5.0


class Duties(Protocol):
    """What a worker does, one step each. Any step may raise: the loop logs it, waits a little and goes on."""

    async def dispatch(self, stopping: Callable[[], bool]) -> bool:
        """Work on one chunk of messages; False when there was none. ``stopping`` is asked before each wave."""
        ...

    async def relay(self) -> int:
        """Turn new events into deliveries and hint at them; returns how many."""
        ...

    async def deliver(self, delivery: UUID) -> None:
        """Carry out one delivery, if it still waits."""
        ...

    async def deliver_due(self) -> int:
        """Carry out deliveries that wait without a hint; returns how many."""
        ...

    async def tick(self) -> int:
        """Fire due timers; returns how many."""
        ...

    async def sweep(self) -> int:
        """Expire leases, settle the unknown, close what drained; returns how much it found."""
        ...

    async def tidy(self) -> int:
        """Throw away what nobody needs any more; returns how much there was."""
        ...

    async def beat(self, worker: str) -> None:
        """Say that this worker lives."""
        ...

    async def leave(self, worker: str) -> None:
        """Say that it has gone."""
        ...


@attrs.frozen(kw_only=True)
class Pace:
    """Seconds. ``stop`` is what running provider calls get to finish, ``cancel`` what the rest gets after that."""

    dispatchers: int = 3
    deliveries: int = 8
    relay: float = 0.5
    dispatch: float = 1.0
    tick: float = 0.5
    sweep: float = 3.0
    tidy: float = 600.0
    beat: float = 5.0
    stop: float = 18.0
    cancel: float = 2.0


class WorkerRuntime:
    """Runs every loop of one worker on the current event loop until :meth:`request_stop`.

    Nothing depends on the broker: idle dispatchers and the relay look into the database by themselves, a hint only
    makes them look at once.
    """

    def __init__(
        self, duties: Duties, *, name: str, broker: Broker, pace: Pace | None = None, threads: int = 4
    ) -> None:
        self.name = name
        self._duties = duties
        self._broker = broker
        self._pace = pace or Pace()
        self._threads = threads
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._work = asyncio.Event()
        self._news = asyncio.Event()
        self._slots = asyncio.Semaphore(self._pace.deliveries)

    # --- from any thread ------------------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """No new claims from now on."""
        self._stopping = True
        self._call(self._stop.set)

    def wake_dispatch(self) -> None:
        """There may be messages to send, or events to pass on."""
        self._call(self._work.set)
        self._call(self._news.set)

    def run_delivery(self, delivery: str) -> None:
        """Carry out one delivery on the event loop and wait for it; a broken id is only logged."""
        loop = self._loop
        if loop is None or self._stopping:
            return
        work = self._deliver(delivery)
        try:
            asyncio.run_coroutine_threadsafe(work, loop).result()
        except Exception as error:  # noqa: BLE001 - the row stays and the sweep finds it
            work.close()
            _log.warning("delivery.hint_failed", error=type(error).__name__)

    def _call(self, function: Callable[[], None]) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(function)
            except RuntimeError:  # the loop has closed: nobody to wake
                return

    # --- on the event loop ----------------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Until somebody asks to stop. True when everything ended by itself, False when something had to be cut off."""
        self._loop = asyncio.get_running_loop()
        if self._stopping:
            return True
        register_actors(self._broker, self)
        consumer = dramatiq.Worker(self._broker, worker_threads=self._threads, worker_timeout=200)
        consumer.start()
        pace = self._pace
        loops = [
            *(
                self._repeat(f"dispatch-{n}", self._dispatch, idle=pace.dispatch, bell=self._work)
                for n in range(pace.dispatchers)
            ),
            self._repeat("relay", self._duties.relay, idle=pace.relay, bell=self._news),
            self._repeat("deliver", self._duties.deliver_due, idle=pace.relay * 2),
            self._repeat("tick", self._duties.tick, idle=pace.tick),
            self._repeat("sweep", self._sweep, idle=pace.sweep),
            self._repeat("tidy", self._duties.tidy, idle=pace.tidy),
            self._repeat("beat", self._beat, idle=pace.beat),
        ]
        tasks = {asyncio.create_task(loop) for loop in loops}
        _log.info("worker.started", worker=self.name, dispatchers=pace.dispatchers)
        await self._stop.wait()
        self._work.set()
        self._news.set()
        stopper = threading.Thread(target=consumer.stop, args=(int(pace.stop * 1000),), daemon=True)
        stopper.start()
        _, late = await asyncio.wait(tasks, timeout=pace.stop)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=pace.cancel)
        await self._say_goodbye()
        await self._join(stopper)
        _log.info("worker.stopped", worker=self.name, clean=not late)
        return not late

    async def _repeat(
        self, name: str, step: Callable[[], Awaitable[int]], *, idle: float, bell: asyncio.Event | None = None
    ) -> None:
        """Steps: at once while there is something to do, every ``idle`` seconds otherwise, slower on errors."""
        failures = 0
        while not self._stopping:
            if bell is not None:
                bell.clear()
            try:
                pause = 0.0 if await step() else idle * random.uniform(0.8, 1.2)  # noqa: S311 - spreads polls, guards nothing
                failures = 0
            except Exception as error:  # noqa: BLE001 - a loop outlives whatever its step meets
                failures += 1
                pause = min(0.25 * 2**failures, MAX_BACKOFF) * random.uniform(0.8, 1.2)  # noqa: S311
                _log.error("loop.failed", loop=name, failures=failures, error=type(error).__name__, exc_info=error)
            if pause:
                await self._rest(pause, None if failures else bell)

    async def _rest(self, seconds: float, bell: asyncio.Event | None) -> None:
        """Until the bell rings, the stop is asked for or the time is over."""
        waits = {asyncio.ensure_future(event.wait()) for event in (self._stop, bell) if event is not None}
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _dispatch(self) -> int:
        found = await self._duties.dispatch(lambda: self._stopping)
        if found:
            self._work.set()  # where there was one chunk there may be more: ring for the neighbours
        return found

    async def _sweep(self) -> int:
        """At its own pace however much it finds, so that a large backlog leaves room for sending."""
        if await self._duties.sweep():
            self._work.set()
        return 0

    async def _beat(self) -> int:
        await self._duties.beat(self.name)
        return 0

    async def _deliver(self, delivery: str) -> None:
        async with self._slots:
            await self._duties.deliver(UUID(delivery))

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(self._pace.cancel):
                await self._duties.leave(self.name)
        except Exception as error:  # noqa: BLE001 - a database that is down must not hold the process
            _log.warning("worker.goodbye_failed", worker=self.name, error=type(error).__name__)

    async def _join(self, consumer: threading.Thread) -> None:
        """Not for long: with Redis down Dramatiq's threads would wait for it, and what they hold are only hints."""
        deadline = asyncio.get_running_loop().time() + self._pace.cancel
        while consumer.is_alive() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - a thread has no event
            await asyncio.sleep(0.02)
