"""Status callbacks: scheduled in constant time, posted in signed batches, repeated until the receiver says 2xx."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import attrs

from callboard_adapters.outbound import Outbound, Reply
from callboard_adapters.sandbox.clock import TwinClock
from callboard_adapters.sandbox.config import CallbackConfig

MAX_STATUSES: Final = 8


class Sending(NamedTuple):
    """A message on its way. ``sender`` decides where callbacks go; ``plan`` is what will be said of it, in order."""

    id: str
    to: str
    reference: str | None
    sender: str
    plan: tuple[str, ...]


class Status(NamedTuple):
    """One fact to report."""

    sending: Sending
    word: str
    at: float


@attrs.frozen(kw_only=True)
class Target:
    """Where a sender's callbacks go and what signs them."""

    url: str
    secret: str


@attrs.define
class Counts:
    """What went out. ``given_up`` are POSTs no retry brought through."""

    statuses: int = 0
    posts: int = 0
    retried: int = 0
    given_up: int = 0
    dropped: int = 0


class Callbacks:
    """One provider's statuses. Each position of a plan has its own queue, so that nothing needs sorting."""

    def __init__(
        self,
        *,
        clock: TwinClock,
        http: Outbound,
        config: Callable[[], CallbackConfig],
        target: Callable[[str], Target | None],
        encode: Callable[[str, Sequence[Status]], bytes],
        headers: Callable[[bytes, str], Mapping[str, str]],
        seed: int,
    ) -> None:
        self._clock, self._http, self._config = clock, http, config
        self._target, self._encode, self._headers = target, encode, headers
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._queues: tuple[deque[tuple[float, Sending]], ...] = tuple(deque() for _ in range(MAX_STATUSES))
        self._posting: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(config().parallel)
        self._waiting_posts = 0
        self.counts = Counts()

    @property
    def pending(self) -> int:
        """Statuses that will still be reported, and POSTs under way."""
        return sum(map(len, self._queues)) + self._waiting_posts

    @property
    def immediate(self) -> bool:
        """Whether the first status is posted before the send is answered."""
        return self._config().before_answer

    def schedule(self, sending: Sending, now: float, position: int = 0) -> None:
        """Say what the plan says, from ``position`` on, each after its delay."""
        if position < len(sending.plan) and position < MAX_STATUSES:
            delays = self._config().delay_ms or (0.0,)
            self._queues[position].append((now + delays[min(position, len(delays) - 1)] / 1000, sending))

    async def first_now(self, sending: Sending, now: float) -> None:
        """Report the first status and wait for the receiver, then go on as usual."""
        if sending.plan:
            await self._post(sending.sender, [Status(sending, sending.plan[0], now)])
            self.schedule(sending, now, 1)

    def clear(self) -> None:
        """Forget what was not posted yet."""
        for queue in self._queues:
            queue.clear()
        for task in self._posting:
            task.cancel()
        self.counts = Counts()

    async def run(self) -> None:
        """Post what is due, window by window, for ever."""
        while True:
            await asyncio.sleep(self._config().window_ms / 1000)
            for sender, statuses in self._due().items():
                size = self._config().batch
                for i in range(0, len(statuses), size):
                    self._spawn(sender, statuses[i : i + size])

    async def aclose(self) -> None:
        """Stop posting."""
        for task in tuple(self._posting):
            task.cancel()
        await asyncio.gather(*self._posting, return_exceptions=True)

    def _due(self) -> dict[str, list[Status]]:
        now, config = self._clock.now(), self._config()
        found: dict[str, list[Status]] = {}
        for position, queue in enumerate(self._queues):
            while queue and queue[0][0] <= now:
                due, sending = queue.popleft()
                self.schedule(sending, due, position + 1)
                if config.drop and self._random.random() < config.drop:
                    self.counts.dropped += 1
                    continue
                plan = sending.plan
                word = plan[-1 - position] if config.reorder else plan[position]
                found.setdefault(sending.sender, []).append(Status(sending, word, due))
        return found

    def _spawn(self, sender: str, statuses: Sequence[Status]) -> None:
        task = asyncio.get_running_loop().create_task(self._post(sender, statuses))
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    async def _post(self, sender: str, statuses: Sequence[Status]) -> None:
        target = self._target(sender)
        if target is None:
            self.counts.dropped += len(statuses)
            return
        self._waiting_posts += 1
        try:
            body = self._encode(sender, statuses)
            if await self.deliver(target, body):
                self.counts.statuses += len(statuses)
            again = self._config().duplicate
            if again and self._random.random() < again:
                await self.deliver(target, body)
        finally:
            self._waiting_posts -= 1

    async def deliver(self, target: Target, body: bytes) -> bool:
        """POST until 2xx; False when the last retry failed too."""
        headers = self._headers(body, target.secret)
        for wait in (*self._config().retry_ms, None):
            async with self._slots:
                answer = await self._http.call("POST", target.url, headers=headers, content=body, deadline=15)
            self.counts.posts += 1
            if isinstance(answer, Reply) and 200 <= answer.status < 300:
                return True
            if wait is not None:
                self.counts.retried += 1
                await asyncio.sleep(wait / 1000)
        self.counts.given_up += 1
        return False
