"""What is measured about HTTP, in the Prometheus text format."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector  # type: ignore[no-untyped-call, unused-ignore]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HttpMetrics:
    """Counters of one app; routes are templates and statuses numbers, so that nothing personal becomes a label."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "callboard_http_requests",
            "Requests answered.",
            ("method", "route", "surface", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "callboard_http_request_seconds",
            "Time to answer.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._receipts = Counter(
            "callboard_receipts", "Provider receipts, by what became of them.", ("outcome",), registry=self._registry
        )
        self._flushes = Counter("callboard_receipt_flushes", "Group commits of receipts.", registry=self._registry)

    def answered(self, method: str, route: str, surface: str, status: int, seconds: float) -> None:
        """One request."""
        method = method if method in _METHODS else "OTHER"
        self._requests.labels(method, route, surface, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def receipts(self, outcome: str, n: int) -> None:
        """``n`` receipts were applied, duplicate or parked."""
        self._receipts.labels(outcome).inc(n)

    def flushed(self) -> None:
        """One group commit."""
        self._flushes.inc()

    def text(self) -> bytes:
        """Everything; with ``PROMETHEUS_MULTIPROC_DIR`` the sum over all processes."""
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
