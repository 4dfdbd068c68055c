"""The twin as one app: provider calls go straight to their provider, everything else through Litestar."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any, Final

from litestar import Litestar
from litestar.types import Receive, Send

from callboard_adapters.outbound import Outbound
from callboard_adapters.sandbox.asgi import Aborted, Call
from callboard_adapters.sandbox.clock import TwinClock
from callboard_adapters.sandbox.cloud import WhatsApp
from callboard_adapters.sandbox.config import SandboxConfig
from callboard_adapters.sandbox.control import control
from callboard_adapters.sandbox.faults import Faults
from callboard_adapters.sandbox.mitto import Mitto
from callboard_adapters.sandbox.provider import Provider, World

PROVIDERS: Final = (Mitto, WhatsApp)
"""One class per provider, in the order in which paths are offered to them."""


class Sandbox(Litestar):
    """A Litestar app whose provider endpoints do without its routing: 3,000 sends per second leave no time for it."""

    world: World
    providers: tuple[Provider, ...] = ()

    async def __call__(self, scope: Any, receive: Receive | Any, send: Send | Any) -> None:
        """ASGI."""
        if scope["type"] == "http":
            path = scope["path"]
            for provider in self.providers:
                handler = provider.match(scope["method"], path)
                if handler is not None:
                    with contextlib.suppress(Aborted):
                        await handler(Call(scope, receive, send))
                    return
        await super().__call__(scope, receive, send)


def create_sandbox(config: SandboxConfig | None = None) -> Sandbox:
    """A twin of its own; nothing is shared between two of them."""
    settings = config or SandboxConfig()
    world = World(
        config=settings,
        clock=TwinClock(),
        faults=Faults(),
        http=Outbound(),
        random=random.Random(settings.seed),  # noqa: S311 - repeatable, not secret
    )
    providers: tuple[Provider, ...] = tuple(kind(world) for kind in PROVIDERS)

    @contextlib.asynccontextmanager
    async def posting(_app: Litestar) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(provider.callbacks.run()) for provider in providers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for provider in providers:
                await provider.callbacks.aclose()
            await world.http.aclose()

    app = Sandbox(
        route_handlers=[control(world, providers)],
        lifespan=[posting],
        openapi_config=None,
        logging_config=None,
    )
    app.world, app.providers = world, providers
    return app
