"""Is the process up, can it work, what has it done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
from litestar import Response, get
from litestar.types import ControllerRouterHandler
from msgspec import UNSET, Struct, UnsetType

from callboard_adapters.http.metrics import CONTENT_TYPE, HttpMetrics

Check = Callable[[], Awaitable[None]]
"""Returns when a dependency answers, raises otherwise."""

Gauges = Callable[[], Awaitable[Mapping[str, int]]]
"""Messages by state, over all tenants."""

_SECONDS = 2.0


class Ready(Struct, kw_only=True, frozen=True):
    """``failed`` names what keeps us from working, ``degraded`` what only makes it slower."""

    status: str
    failed: list[str] | UnsetType = UNSET
    degraded: list[str] | UnsetType = UNSET


@attrs.frozen(kw_only=True)
class Probes:
    """``vital`` ones make us unready (the database), ``helpful`` ones are only named (the broker).

    ``degraded`` may name further troubles that were noticed elsewhere (no worker seen).
    """

    vital: Mapping[str, Check] = attrs.field(factory=dict)
    helpful: Mapping[str, Check] = attrs.field(factory=dict)
    degraded: Callable[[], Awaitable[Sequence[str]]] | None = None
    messages_by_state: Gauges | None = None


async def _fails(check: Check) -> bool:
    try:
        async with asyncio.timeout(_SECONDS):
            await check()
    except Exception:  # noqa: BLE001 - whatever is wrong, it does not answer
        return True
    return False


async def _failing(checks: Mapping[str, Check]) -> list[str]:
    results = await asyncio.gather(*(_fails(check) for check in checks.values()))
    return [name for name, failed in zip(checks, results, strict=True) if failed]


async def readiness(probes: Probes) -> tuple[int, Ready]:
    """503 when something vital does not answer in two seconds, else 200."""
    failed = await _failing(probes.vital)
    if failed:
        return 503, Ready(status="unavailable", failed=failed)
    degraded = await _failing(probes.helpful)
    if probes.degraded is not None:
        degraded.extend(name for name in await probes.degraded() if name not in degraded)
    return 200, Ready(status="ready", degraded=degraded) if degraded else Ready(status="ready")


def health_handlers(probes: Probes, metrics: HttpMetrics) -> list[ControllerRouterHandler]:
    """``/health/live``, ``/health/ready`` and ``/metrics``."""

    @get("/health/live", include_in_schema=False)
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @get("/health/ready", include_in_schema=False)
    async def ready() -> Response[Any]:
        status, body = await readiness(probes)
        headers = {"Retry-After": "2"} if status == 503 else {}
        return Response(body, status_code=status, headers=headers)

    @get("/metrics", include_in_schema=False)
    async def measured() -> Response[bytes]:
        text = metrics.text()
        if probes.messages_by_state is not None:
            text += _gauges(await probes.messages_by_state())
        return Response(text, headers={"content-type": CONTENT_TYPE})

    return [live, ready, measured]


def _gauges(states: Mapping[str, int]) -> bytes:
    lines = ["# HELP callboard_messages Messages by state.", "# TYPE callboard_messages gauge"]
    lines += [f'callboard_messages{{state="{state}"}} {n}' for state, n in sorted(states.items())]
    return ("\n".join(lines) + "\n").encode()
