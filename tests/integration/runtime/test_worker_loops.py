"""The runtime's loops against duties that count, fail and take their time: real threads, real event loops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest

from callboard_adapters.jobs.brokers import memory_broker, redis_broker
from callboard_adapters.jobs.embedded import EmbeddedWorker
from callboard_adapters.jobs.hints import BrokerHints
from callboard_adapters.jobs.runtime import Pace, WorkerRuntime

FAST = Pace(dispatchers=2, relay=0.05, dispatch=0.05, tick=0.05, sweep=0.05, tidy=0.05, beat=0.05, stop=2.0, cancel=1.0)


class Duties:
    """Duties that write down what was asked of them."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.fails: set[str] = set()
        self.delivered: list[UUID] = []
        self.chunks = 0
        self.running = 0
        self.peak = 0
        self.wave = 0.0
        self.left: list[str] = []
        self.interrupted = 0

    async def _do(self, name: str) -> int:
        self.calls[name] += 1
        if name in self.fails:
            raise ConnectionError(name)
        return 0

    async def dispatch(self, stopping: Callable[[], bool]) -> bool:
        await self._do("dispatch")
        if not self.chunks:
            return False
        self.chunks -= 1
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            for _ in range(3):
                if stopping():
                    self.calls["stopped_between_waves"] += 1
                    break
                await asyncio.sleep(self.wave)
                self.calls["waves"] += 1
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        finally:
            self.running -= 1
        return True

    async def relay(self) -> int:
        return await self._do("relay")

    async def deliver(self, delivery: UUID) -> None:
        await self._do("deliver")
        self.delivered.append(delivery)

    async def deliver_due(self) -> int:
        return await self._do("deliver_due")

    async def tick(self) -> int:
        return await self._do("tick")

    async def sweep(self) -> int:
        return await self._do("sweep")

    async def tidy(self) -> int:
        return await self._do("tidy")

    async def beat(self, worker: str) -> None:
        await self._do("beat")

    async def leave(self, worker: str) -> None:
        self.left.append(worker)


async def until(check: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(duties: Duties, pace: Pace = FAST) -> AsyncIterator[tuple[WorkerRuntime, BrokerHints]]:
    broker = memory_broker()
    runtime = WorkerRuntime(duties, name="w", broker=broker, pace=pace, threads=2)
    hints = BrokerHints(broker)
    task = asyncio.create_task(runtime.run())
    try:
        yield runtime, hints
    finally:
        runtime.request_stop()
        await task
        hints.close()


async def test_every_loop_runs_and_goodbye_is_said() -> None:
    duties = Duties()
    async with running(duties):
        await until(lambda: {"dispatch", "relay", "deliver_due", "tick", "sweep", "tidy", "beat"} <= set(duties.calls))
    assert duties.left == ["w"]


@pytest.mark.parametrize("broken", ["dispatch", "relay", "deliver_due", "tick", "sweep", "tidy", "beat"])
async def test_a_failing_step_slows_its_own_loop_only_and_recovers(broken: str) -> None:
    duties = Duties()
    duties.fails = {broken}
    async with running(duties):
        await until(lambda: duties.calls[broken] >= 1)
        await asyncio.sleep(0.6)
        limit = 4 * (FAST.dispatchers if broken == "dispatch" else 1)
        assert duties.calls[broken] <= limit  # 0.5 s, 1 s, … instead of every 0.05 s
        others = set(duties.calls) - {broken}
        assert all(duties.calls[name] >= 5 for name in others), duties.calls
        seen = duties.calls[broken]
        duties.fails = set()
        await until(lambda: duties.calls[broken] > seen + 4, 8)


async def test_work_is_found_without_any_hint() -> None:
    duties = Duties()
    async with running(duties):
        await until(lambda: duties.calls["dispatch"] >= 2)
        duties.chunks = 5
        await until(lambda: duties.calls["waves"] == 15, 2)


async def test_a_hint_wakes_dispatchers_and_the_relay_at_once() -> None:
    duties = Duties()
    slow = Pace(dispatchers=2, relay=60, dispatch=60, tick=60, sweep=60, beat=60, stop=2, cancel=1)
    async with running(duties, slow) as (_, hints):
        await until(lambda: duties.calls["dispatch"] == 2 and duties.calls["relay"] == 1)
        duties.chunks = 6
        duties.wave = 0.05
        await hints.wake("dispatch")
        await until(lambda: duties.calls["waves"] == 18, 3)
        assert duties.peak == 2  # the bound on dispatch loops in one process
        assert duties.calls["relay"] >= 2


async def test_a_delivery_hint_runs_on_the_runtimes_loop_and_a_bad_id_harms_nobody() -> None:
    duties = Duties()
    good = uuid4()
    async with running(duties) as (_, hints):
        await hints.wake("deliver", "not an id")
        await hints.wake("deliver", str(good))
        await until(lambda: duties.delivered == [good])


async def test_stop_lets_the_running_wave_finish_and_claims_no_more() -> None:
    duties = Duties()
    duties.chunks, duties.wave = 50, 0.3
    async with running(duties) as (runtime, _):
        await until(lambda: duties.running == 2)
        claimed = 50 - duties.chunks
        runtime.request_stop()
    assert duties.interrupted == 0
    assert 50 - duties.chunks == claimed
    assert duties.calls["waves"] == duties.calls["stopped_between_waves"] == 2  # each finished its wave, then stopped


async def test_a_step_that_never_ends_is_cut_off_and_reported() -> None:
    duties = Duties()
    duties.chunks, duties.wave = 1, 60
    pace = Pace(dispatchers=1, relay=0.05, dispatch=0.05, tick=1, sweep=1, beat=1, stop=0.3, cancel=0.5)
    runtime = WorkerRuntime(duties, name="w", broker=memory_broker(), pace=pace, threads=1)
    task = asyncio.create_task(runtime.run())
    await until(lambda: duties.running == 1)
    started = time.monotonic()
    runtime.request_stop()
    assert await task is False
    assert time.monotonic() - started < 2
    assert duties.interrupted == 1


async def test_a_dead_redis_neither_keeps_work_from_being_done_nor_the_worker_from_stopping() -> None:
    duties = Duties()
    runtime = WorkerRuntime(duties, name="w", broker=redis_broker("redis://127.0.0.1:9/0"), pace=FAST, threads=2)
    task = asyncio.create_task(runtime.run())
    duties.chunks = 3
    await until(lambda: duties.calls["waves"] == 9)
    started = time.monotonic()
    runtime.request_stop()
    assert await task is True
    assert time.monotonic() - started < 4


async def test_an_embedded_worker_has_its_own_thread_and_loop_and_stops() -> None:
    duties = Duties()
    seen: list[tuple[threading.Thread, asyncio.AbstractEventLoop]] = []

    @asynccontextmanager
    async def open_runtime() -> AsyncIterator[WorkerRuntime]:
        seen.append((threading.current_thread(), asyncio.get_running_loop()))
        yield WorkerRuntime(duties, name="w", broker=memory_broker(), pace=FAST, threads=1)

    worker = EmbeddedWorker(open_runtime)
    await asyncio.to_thread(worker.start)
    await until(lambda: duties.calls["beat"] >= 1)
    assert seen[0][0] is not threading.current_thread()
    assert seen[0][1] is not asyncio.get_running_loop()
    assert await asyncio.to_thread(worker.stop)
    assert duties.left == ["w"]


def test_an_embedded_worker_that_cannot_start_says_why() -> None:
    @asynccontextmanager
    async def open_runtime() -> AsyncIterator[WorkerRuntime]:
        raise LookupError("no key")
        yield  # pragma: no cover

    with pytest.raises(LookupError, match="no key"):
        EmbeddedWorker(open_runtime).start()
