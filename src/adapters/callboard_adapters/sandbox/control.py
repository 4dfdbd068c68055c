"""``/_control``: what tests and people tell the twin and ask it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import Router, delete, get, post
from litestar.exceptions import NotFoundException, ValidationException
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from callboard_adapters.sandbox.config import patched
from callboard_adapters.sandbox.faults import Fault, FaultSpec
from callboard_adapters.sandbox.journal import shown
from callboard_adapters.sandbox.provider import Provider, World

Count = Annotated[int, QueryParameter(ge=0)]
Limit = Annotated[int | None, QueryParameter(ge=0)]


class Latency(msgspec.Struct, forbid_unknown_fields=True):
    """Milliseconds before each answer of a provider (all providers when none is named), plus up to ``jitter_ms``."""

    ms: Annotated[float, Meta(ge=0, le=600_000)] = 0
    jitter_ms: Annotated[float, Meta(ge=0, le=600_000)] = 0
    provider: str | None = None


class ClockMove(msgspec.Struct, forbid_unknown_fields=True):
    """``advance`` jumps forward by seconds; ``reset`` returns to real time."""

    advance: Annotated[float, Meta(ge=0)] = 0
    reset: bool = False


def _described(fault: Fault) -> dict[str, Any]:
    return {
        "id": fault.id,
        "seen": fault.seen,
        "hits": fault.hits,
        "left": fault.left,
        **msgspec.to_builtins(fault.spec),
    }


def control(world: World, providers: tuple[Provider, ...]) -> Router:
    """The routes of one twin."""
    by_name = {name: p for p in providers for name in (p.name, *p.aliases)}

    def named(name: str | None) -> Provider:
        if name is None or name not in by_name:
            raise ValidationException(f"provider must be one of: {', '.join(p.name for p in providers)}")
        return by_name[name]

    @get("/received")
    async def received(
        provider: Annotated[str, QueryParameter()], since: Count = 0, limit: Limit = None
    ) -> dict[str, Any]:
        """Everything accepted with ``n > since``, in order."""
        journal = named(provider).journal
        entries = shown(journal.received(since, limit))
        reached = entries[-1]["n"] if entries else min(since, journal.accepted)
        return {"provider": named(provider).name, "total": journal.accepted, "next": reached, "received": entries}

    @get("/stats")
    async def stats() -> dict[str, Any]:
        """Numbers per provider: accepted, refused, duplicates, callbacks."""
        return {
            p.name: {
                **p.journal.stats(),
                "callbacks": {
                    "pending": p.callbacks.pending,
                    "statuses": p.callbacks.counts.statuses,
                    "posts": p.callbacks.counts.posts,
                    "retried": p.callbacks.counts.retried,
                    "given_up": p.callbacks.counts.given_up,
                    "dropped": p.callbacks.counts.dropped,
                },
            }
            for p in providers
        }

    @get("/faults")
    async def list_faults() -> list[dict[str, Any]]:
        """The rules in force and how often they hit."""
        return [_described(f) for f in world.faults.rules]

    @post("/faults")
    async def add_fault(data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        """Put a rule in force."""
        spec = _convert(data, FaultSpec)
        if sum(map(bool, (spec.next, spec.every, spec.always))) > 1:
            raise ValidationException("Only one of next, every, always")
        if spec.provider is not None:
            spec = msgspec.structs.replace(spec, provider=named(spec.provider).name)
        return _described(world.faults.add(spec))

    @delete("/faults", status_code=200)
    async def lift_all() -> dict[str, int]:
        """Lift every rule."""
        return {"lifted": world.faults.remove(None)}

    @delete("/faults/{identity:int}", status_code=200)
    async def lift(identity: FromPath[int]) -> dict[str, int]:
        """Lift one rule."""
        if not world.faults.remove(identity):
            raise NotFoundException("No such fault")
        return {"lifted": 1}

    @post("/latency", status_code=200)
    async def latency(data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        """Slow answers down; 0 lifts it."""
        asked = _convert(data, Latency)
        names = [p.name for p in providers] if asked.provider is None else [named(asked.provider).name]
        for name in names:
            world.latency.pop(name, None)
            if asked.ms or asked.jitter_ms:
                world.latency[name] = (asked.ms, asked.jitter_ms)
        return {name: {"ms": ms, "jitter_ms": jitter} for name, (ms, jitter) in world.latency.items()}

    @post("/inbound", status_code=200)
    async def inbound(data: JSONBody[dict[str, Any]]) -> dict[str, bool]:
        """A customer writes, taps or changes a preference; answered when the receiver has it."""
        provider = named(data.get("provider"))
        try:
            return {"delivered": await provider.inbound(data)}
        except ValueError as error:
            raise ValidationException(str(error)) from None

    @post("/clock", status_code=200)
    async def move_clock(data: JSONBody[dict[str, Any]]) -> dict[str, float]:
        """Jump forward; what is due follows at once."""
        move = _convert(data, ClockMove)
        if move.reset:
            world.clock.offset = 0.0
        world.clock.advance(move.advance)
        return {"now": world.clock.now(), "offset": world.clock.offset}

    @get("/clock")
    async def read_clock() -> dict[str, float]:
        """The twin's time."""
        return {"now": world.clock.now(), "offset": world.clock.offset}

    @post("/config", status_code=200)
    async def configure(data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        """Replace the given settings, nested by nested: webhook addresses, secrets, numbers, templates, callbacks."""
        try:
            world.config = patched(world.config, data)
        except msgspec.ValidationError as error:
            raise ValidationException(str(error)) from None
        for provider in providers:
            provider.journal.mode = world.config.journal
        return _configured(world)

    @get("/config")
    async def read_config() -> dict[str, Any]:
        """The settings in force."""
        return _configured(world)

    @get("/magic")
    async def magic() -> dict[str, dict[str, str]]:
        """Number suffixes and what they meet."""
        return {p.name: {suffix: fate.says for suffix, fate in p.magic.items()} for p in providers}

    @post("/reset", status_code=200)
    async def reset() -> dict[str, bool]:
        """Forget journals, callbacks, faults, latency, windows and time; settings stay."""
        world.faults.remove(None)
        world.latency.clear()
        world.clock.offset = 0.0
        for provider in providers:
            provider.clear()
        return {"reset": True}

    @get("/health")
    async def health() -> dict[str, bool]:
        """Whether the twin is up."""
        return {"ok": True}

    handlers = [
        received, stats, list_faults, add_fault, lift_all, lift, latency, inbound,
        move_clock, read_clock, configure, read_config, magic, reset, health,
    ]  # fmt: skip
    return Router("/_control", route_handlers=handlers)


def _configured(world: World) -> dict[str, Any]:
    shown_config: dict[str, Any] = msgspec.to_builtins(world.config)
    return shown_config


def _convert(data: Mapping[str, Any], kind: type[Any]) -> Any:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise ValidationException(str(error)) from None
