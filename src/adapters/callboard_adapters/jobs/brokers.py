"""The two brokers. Neither is ever Dramatiq's global one, neither retries: retries are rows in the database."""

from __future__ import annotations

from typing import Final

from dramatiq import Broker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

QUEUE: Final = "hints"
NAMESPACE: Final = "callboard"
CONNECT_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 2.0
HEARTBEAT_MS: Final = 20_000


def redis_client(url: str) -> Redis:
    """A client that gives up quickly: redis-py 8 retries ten times by default, which may double a hint."""
    return Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=15,
    )


def redis_broker(url: str, *, namespace: str = NAMESPACE) -> Broker:
    """Dramatiq on Redis for hints.

    Every command does maintenance (the default recovers a dead worker's messages only by chance, reliability.md M1-M3);
    no middleware at all, so there are no retries, no delays and no dead letters to forget.
    """
    broker = RedisBroker(  # type: ignore[no-untyped-call]
        client=redis_client(url),
        middleware=[],
        namespace=namespace,
        maintenance_chance=1_000_000,
        heartbeat_timeout=HEARTBEAT_MS,
    )
    broker.declare_queue(QUEUE)
    return broker


def memory_broker() -> Broker:
    """Dramatiq inside this process, for the embedded default. What is in it dies with the process, which is fine."""
    broker = StubBroker(middleware=[])
    broker.declare_queue(QUEUE)
    return broker
