"""The HTTP app: the served surfaces, health, metrics and API documents in one Litestar app behind one edge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Any

import structlog
from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import Scope

from callboard import __version__
from callboard.errors import CoreError
from callboard.tenants.model import Principal
from callboard_adapters.http.auth import Authenticator, bearer
from callboard_adapters.http.container import HttpConfig, Services
from callboard_adapters.http.edge import Claim, Edge
from callboard_adapters.http.failure import STATUSES, failure_of, outline
from callboard_adapters.http.health import Probes, health_handlers
from callboard_adapters.http.metrics import HttpMetrics
from callboard_adapters.http.openapi import openapi_handlers
from callboard_adapters.http.ratelimit import RateLimiter
from callboard_adapters.http.surface import Surface, Surfaces, default_render, failure_answer
from callboard_adapters.http.surfaces.store.surface import store_surface

log = structlog.get_logger("callboard.http")

BODY_LIMIT = 1024 * 1024
_SURFACES = {"store": store_surface}
Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


def assemble(
    surfaces: Sequence[Surface],
    *,
    claim: Claim,
    probes: Probes,
    metrics: HttpMetrics,
    production: bool = False,
    lifespan: Sequence[Lifespan] = (),
    dependencies: Mapping[str, Provide] = MappingProxyType({}),
) -> Litestar:
    """One app out of surfaces. Errors of every layer, matched path or not, find their dialect here and nowhere else."""
    served = Surfaces(served=tuple(surfaces))

    def refuse(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        surface = served.owner(request.scope["path"])
        failure = failure_of(error, surface.statuses if surface else STATUSES)
        if failure.status >= 500:
            log.error("request.failed", code=failure.code, **outline(error))
        answer = surface.answer(failure) if surface else failure_answer(failure, default_render)
        return Response(
            answer.body, status_code=answer.status, media_type="application/json", headers=dict(answer.headers)
        )

    app = Litestar(
        [
            *(surface.router() for surface in served.served),
            *health_handlers(probes, metrics),
            *openapi_handlers(served, __version__, dependencies),
        ],
        exception_handlers={CoreError: refuse, HTTPException: refuse, Exception: refuse},
        request_max_body_size=BODY_LIMIT,
        openapi_config=None,
        logging_config=None,
        lifespan=list(lifespan),
        dependencies=dict(dependencies),
        multipart_form_part_limit=100,
    )
    app.asgi_handler = Edge(
        inner=app.asgi_handler, surfaces=served, claim=claim, metrics=metrics, production=production
    )
    return app


def create_app(
    services: Services, config: HttpConfig, *, metrics: HttpMetrics, lifespan: Sequence[Lifespan] = ()
) -> Litestar:
    """The app over real services: fill :class:`Services` and :class:`HttpConfig`, serve the result with any server.

    ``metrics`` is the one given to :class:`ReceiptDesk`. The app's own lifespan flushes clicks and waits for receipts
    that are being written; ``lifespan`` adds the caller's (entered first, left last).
    """
    limiter = RateLimiter(config.rate_limit, config.redis_url)
    authenticator = Authenticator(secret=config.token_secret, keys=services.keys, tenants=services.tenants)
    surfaces = [
        make(services, config, authenticator=authenticator, limiter=limiter)
        for name, make in _SURFACES.items()
        if name in config.surfaces
    ]

    async def claim(scope: Scope) -> frozenset[str]:
        return await authenticator.surfaces(bearer(scope))

    @asynccontextmanager
    async def desks(_: Litestar) -> AsyncIterator[None]:
        async with services.clicks.running():
            yield
        await services.receipts.drain()
        await limiter.close()

    return assemble(
        surfaces,
        claim=claim,
        probes=services.probes,
        metrics=metrics,
        production=config.production,
        lifespan=[*lifespan, desks],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "caller": Provide(_caller, sync_to_thread=False),
        },
    )


def _caller(request: Request[Principal, Any, Any]) -> Principal:
    """Whom the surface's authentication proved."""
    return request.user
