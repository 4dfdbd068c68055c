"""The port ``Hints`` on a Dramatiq broker."""

from __future__ import annotations

import queue
import threading
import time
from typing import Final

import structlog
from dramatiq import Broker, Message

from callboard_adapters.jobs.brokers import QUEUE

_log = structlog.get_logger(__name__)
CAPACITY: Final = 2_000
OPEN_SECONDS: Final = 3.0
_Hint = tuple[str, tuple[str, ...]]


class BrokerHints:
    """Hands hints to a thread of its own that talks to the broker; :meth:`wake` only puts them in a bounded list.

    A hint that waits already is not doubled. When the list is full, or within ``open_seconds`` of a broker error, hints
    are dropped: a dead Redis costs its callers nothing and the sweep finds the work.
    """

    def __init__(self, broker: Broker, *, capacity: int = CAPACITY, open_seconds: float = OPEN_SECONDS) -> None:
        self._broker = broker
        self._open_seconds = open_seconds
        self._waiting: queue.Queue[_Hint | None] = queue.Queue(capacity)
        self._pending: set[_Hint] = set()
        self._lock = threading.Lock()
        self._blocked_until = 0.0
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def healthy(self) -> bool:
        """False while the broker is left alone after an error."""
        return time.monotonic() >= self._blocked_until

    async def wake(self, queue: str, *arguments: str) -> None:
        """Never raises and never waits."""
        self.offer(queue, *arguments)

    def offer(self, name: str, *arguments: str) -> bool:
        """The same from any thread; False when the hint was dropped."""
        hint = (name, arguments)
        with self._lock:
            if self._closed or not self.healthy:
                return False
            if hint in self._pending:
                return True
            try:
                self._waiting.put_nowait(hint)
            except queue.Full:
                return False
            self._pending.add(hint)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="callboard-hints", daemon=True)
                self._thread.start()
        return True

    def close(self, timeout: float = 1.0) -> None:
        """Stop taking hints and give the thread ``timeout`` seconds to hand over what waits."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                return
            thread.join(timeout)

    def _run(self) -> None:
        while (hint := self._waiting.get()) is not None:
            with self._lock:
                self._pending.discard(hint)
            if self.healthy:
                self._send(*hint)

    def _send(self, name: str, arguments: tuple[str, ...]) -> None:
        message: Message[None] = Message(queue_name=QUEUE, actor_name=name, args=arguments, kwargs={}, options={})
        try:
            self._broker.enqueue(message)
        except Exception as error:  # noqa: BLE001 - redis-py, socket and script errors: every one of them only costs latency
            self._blocked_until = time.monotonic() + self._open_seconds
            _log.warning("hint.dropped", queue=name, error=type(error).__name__)
