"""The actors behind the hints: they only pass a hint on to the runtime's event loop."""

from __future__ import annotations

from typing import Protocol

import dramatiq
from dramatiq import Broker

from callboard_adapters.jobs.brokers import QUEUE


class Wakeable(Protocol):
    """What a hint ends in. Called from Dramatiq's threads; neither raises nor waits for long."""

    def wake_dispatch(self) -> None: ...

    def run_delivery(self, delivery: str) -> None: ...


def register_actors(broker: Broker, runtime: Wakeable) -> None:
    """Declare ``dispatch`` and ``deliver`` on this broker.

    ``dispatch`` only rings the bell of this process's dispatch loops and is acknowledged at once: a chunk's lease in
    the database is what protects the work, and a message held for minutes would be handed out a second time after
    a missed heartbeat.
    """

    def dispatch() -> None:
        runtime.wake_dispatch()

    def deliver(delivery: str) -> None:
        runtime.run_delivery(delivery)

    dramatiq.actor(actor_name="dispatch", queue_name=QUEUE, broker=broker)(dispatch)
    dramatiq.actor(actor_name="deliver", queue_name=QUEUE, broker=broker)(deliver)
