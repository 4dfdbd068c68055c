"""One behaviour of the port ``Hints`` over both brokers, and what only a real broker can do: die."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dramatiq
import pytest
from dramatiq import Broker
from dramatiq.brokers.stub import StubBroker

from callboard_adapters.jobs.actors import register_actors
from callboard_adapters.jobs.brokers import memory_broker, redis_broker
from callboard_adapters.jobs.hints import BrokerHints


class Bell:
    """A runtime that writes down what reached it."""

    def __init__(self) -> None:
        self.rings: list[str] = []
        self.hold = threading.Event()
        self.hold.set()

    def wake_dispatch(self) -> None:
        self.hold.wait(10)
        self.rings.append("dispatch")

    def run_delivery(self, delivery: str) -> None:
        self.hold.wait(10)
        self.rings.append(delivery)


def eventually(check: Callable[[], bool], seconds: float = 8.0) -> bool:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(params=["memory", "redis"])
def broker(request: pytest.FixtureRequest) -> Broker:
    return memory_broker() if request.param == "memory" else redis_broker(request.getfixturevalue("redis_url"))


@pytest.fixture
def bell(broker: Broker) -> Iterator[Bell]:
    bell = Bell()
    register_actors(broker, bell)
    worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    yield bell
    bell.hold.set()
    worker.stop(5_000)


def test_a_hint_reaches_the_runtime_with_its_arguments(broker: Broker, bell: Bell) -> None:
    hints = BrokerHints(broker)
    asyncio.run(hints.wake("dispatch"))
    asyncio.run(hints.wake("deliver", "0198-a"))
    assert eventually(lambda: sorted(bell.rings) == ["0198-a", "dispatch"]), bell.rings
    hints.close()


def test_a_hint_that_was_handled_can_be_given_again(broker: Broker, bell: Bell) -> None:
    hints = BrokerHints(broker)
    for n in (1, 2, 3):
        assert hints.offer("dispatch")
        assert eventually(lambda n=n: len(bell.rings) == n), bell.rings  # type: ignore[misc]
    hints.close()


def test_a_raising_handler_loses_its_hint_and_nothing_else(broker: Broker, bell: Bell) -> None:
    def fail(delivery: str) -> None:
        if delivery == "bad":
            raise RuntimeError(delivery)
        bell.rings.append(delivery)

    bell.run_delivery = fail  # type: ignore[method-assign]
    hints = BrokerHints(broker)
    for argument in ("bad", "good"):
        hints.offer("deliver", argument)
    assert eventually(lambda: bell.rings == ["good"]), bell.rings
    time.sleep(0.3)
    assert bell.rings == ["good"]  # neither retried nor doubled
    hints.close()


def test_close_hands_over_what_waits(broker: Broker, bell: Bell) -> None:
    hints = BrokerHints(broker)
    for n in range(50):
        hints.offer("deliver", str(n))
    hints.close(5.0)
    assert eventually(lambda: len(bell.rings) == 50), len(bell.rings)
    assert not hints.offer("dispatch")


class _Slow(StubBroker):
    """A broker that answers when the test says so, or fails when it says so."""

    def __init__(self) -> None:
        super().__init__(middleware=[])
        self.declare_queue("hints")
        self.gate = threading.Event()
        self.error: Exception | None = None
        self.calls = 0

    def enqueue(self, message, *, delay=None):  # type: ignore[no-untyped-def]
        self.calls += 1
        self.gate.wait(10)
        if self.error:
            raise self.error
        return super().enqueue(message, delay=delay)


def test_a_broker_that_hangs_blocks_nobody_and_waiting_hints_are_not_doubled() -> None:
    broker = _Slow()
    hints = BrokerHints(broker, capacity=5)
    started = time.monotonic()
    hints.offer("dispatch")
    assert eventually(lambda: broker.calls == 1)  # the thread hangs in the broker now
    taken = [hints.offer("dispatch") for _ in range(1_000)] + [hints.offer("deliver", str(n)) for n in range(100)]
    assert time.monotonic() - started < 5
    assert all(taken[:1_000])  # one more dispatch waits, 999 are the same hint
    assert taken[1_000:].count(True) == 4  # 1 + 4 = the capacity; the rest is dropped, and the sweep's business
    broker.gate.set()
    assert eventually(lambda: broker.calls == 6), broker.calls
    hints.close()


def test_after_an_error_the_broker_is_left_alone_for_a_while() -> None:
    broker = _Slow()
    broker.gate.set()
    broker.error = ConnectionError("down")
    hints = BrokerHints(broker, open_seconds=0.4)
    hints.offer("dispatch")
    assert eventually(lambda: not hints.healthy)
    assert not any(hints.offer("deliver", str(n)) for n in range(500))
    assert broker.calls == 1
    broker.error = None
    assert eventually(lambda: hints.healthy)
    assert hints.offer("dispatch")
    assert eventually(lambda: broker.calls == 2)
    hints.close()


def test_a_dead_redis_costs_the_caller_nothing(tmp_path: Path) -> None:
    hints = BrokerHints(redis_broker("redis://127.0.0.1:9/0"))
    started = time.monotonic()
    for n in range(2_000):
        asyncio.run(hints.wake("deliver", str(n))) if n < 20 else hints.offer("deliver", str(n))
    assert time.monotonic() - started < 5
    assert eventually(lambda: not hints.healthy)
    hints.close()
