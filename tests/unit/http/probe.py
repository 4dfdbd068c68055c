"""A small surface with one resource, to look at the layers round any surface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from litestar import Litestar, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import Scope
from msgspec import Meta, Struct

from callboard.errors import CoreError
from callboard_adapters.http.app import assemble
from callboard_adapters.http.failure import Failure
from callboard_adapters.http.health import Probes
from callboard_adapters.http.metrics import HttpMetrics
from callboard_adapters.http.surface import CorsPolicy, Surface


class Thing(Struct, rename="camel", kw_only=True):
    full_name: Annotated[str, Meta(min_length=1, max_length=5)]
    count: int | None = None
    extra: Any = None


class Refusal(CoreError):
    code = "ODD"


@post("/contacts")
async def make(data: JSONBody[Thing]) -> Thing:
    return data


@get("/contacts")
async def things(page: Annotated[int | None, QueryParameter(name="page")] = None) -> dict[str, int | None]:
    return {"page": page}


@get("/contacts/{thing_id:str}")
async def thing(thing_id: FromPath[str]) -> dict[str, str]:
    if thing_id == "boom":
        raise RuntimeError("secret detail +919812345678")
    if thing_id == "odd":
        raise Refusal("Odd", hint=1)
    return {"id": thing_id}


def surface(name: str, *, root: str = "", cors: CorsPolicy = CorsPolicy()) -> Surface:
    """A surface whose refusals say its name."""

    def render(failure: Failure) -> object:
        return {"surface": name, "code": failure.code, "details": dict(failure.details)}

    @get(f"{root}/who")
    async def who() -> dict[str, str]:
        return {"surface": name}

    return Surface(name=name, title=name.title(), handlers=[make, things, thing, who], render=render, cors=cors)


@asynccontextmanager
async def started(app: Litestar) -> AsyncIterator[None]:
    """The app's lifespan in a task of its own: a fixture may be left in another task than it was entered in."""
    ready, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            ready.set()
            await stop.wait()

    task = asyncio.create_task(live())
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        yield
    finally:
        stop.set()
        await task


@asynccontextmanager
async def serving(
    *surfaces: Surface, valid_for: Sequence[str] = (), probes: Probes | None = None, production: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app with these surfaces; every credential is valid for ``valid_for``."""

    async def claim(scope: Scope) -> frozenset[str]:
        return frozenset(valid_for)

    app = assemble(surfaces, claim=claim, probes=probes or Probes(), metrics=HttpMetrics(), production=production)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with started(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        yield client
