"""How a provider joins the twin: one module each, registered in ``app.PROVIDERS``.

A provider names itself (its journal), recognises its own paths, and answers calls; what every provider needs (time,
faults, latency, callbacks, the way to break a connection) is in :class:`World` and :func:`conclude`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from callboard_adapters.outbound import Outbound
from callboard_adapters.sandbox.asgi import Call
from callboard_adapters.sandbox.callbacks import Callbacks, Sending
from callboard_adapters.sandbox.clock import TwinClock
from callboard_adapters.sandbox.config import SandboxConfig
from callboard_adapters.sandbox.faults import Faults, FaultSpec
from callboard_adapters.sandbox.journal import Journal

Handler = Callable[[Call], Awaitable[None]]


@attrs.define
class World:
    """What all providers of one twin share. ``config`` is replaced as a whole; ``latency`` is (ms, jitter ms)."""

    config: SandboxConfig
    clock: TwinClock
    faults: Faults
    http: Outbound
    random: random.Random
    latency: dict[str, tuple[float, float]] = attrs.Factory(dict)

    async def pause(self, provider: str) -> None:
        """The latency that was asked for."""
        if self.latency and (wait := self.latency.get(provider)):
            await asyncio.sleep((wait[0] + wait[1] * self.random.random()) / 1000)


@attrs.frozen(kw_only=True)
class Fate:
    """What a magic number meets: another course of statuses, or a fault (``once``: only the first time)."""

    plan: tuple[str, ...] | None = None
    fault: FaultSpec | None = None
    once: bool = False
    says: str = ""


class Provider(Protocol):
    """One imitated provider."""

    @property
    def name(self) -> str:
        """Under which the control API knows it."""
        ...

    @property
    def aliases(self) -> Sequence[str]:
        """Other names the control API takes for it."""
        ...

    @property
    def journal(self) -> Journal: ...

    @property
    def callbacks(self) -> Callbacks: ...

    @property
    def magic(self) -> Mapping[str, Fate]:
        """Number suffixes and what they meet."""
        ...

    def match(self, method: str, path: str) -> Handler | None:
        """The handler of this call, None when it is not one of this provider's."""
        ...

    def error(self, fault: FaultSpec) -> tuple[int, bytes]:
        """Status and body of an injected refusal, in the provider's own shape."""
        ...

    async def inbound(self, what: Mapping[str, Any]) -> bool:
        """Post something a customer did; ``ValueError`` says what is missing. True when the receiver took it."""
        ...

    def clear(self) -> None:
        """Back to the beginning: journal, callbacks, windows, buckets."""
        ...


Accept = Callable[[str | None], tuple[bytes, Sequence[Sending]]]
"""Takes the message(s) of a call: writes the journal and returns the proper answer and what callbacks will be about."""


async def conclude(world: World, provider: Provider, call: Call, fault: FaultSpec | None, accept: Accept) -> None:
    """Answer a valid call properly, or as its fault demands."""
    if fault is None:
        answer, sendings = accept(None)
        await _announce(world, provider, sendings)
        await call.answer(200, answer)
        return
    provider.journal.faults[fault.kind] += 1
    answer = b"{}"
    if fault.accepts:
        answer, sendings = accept(fault.kind)
        await _announce(world, provider, sendings)
    else:
        provider.journal.refused[f"fault_{fault.kind}"] += 1
    match fault.kind:
        case "reset_before" | "reset_after":
            call.reset()
        case "timeout":
            await call.hang(fault.seconds)
        case "truncated":
            await call.truncated(answer)
        case "endless":
            await call.endless()
        case "garbage":
            page = (fault.body or "<html><body>It works!</body></html>").encode()
            await call.answer(fault.status or 200, page, kind=(b"content-type", b"text/html"))
        case _:
            status, body = provider.error(fault)
            after = [] if fault.retry_after is None else [(b"retry-after", str(fault.retry_after).encode())]
            await call.answer(status, fault.body.encode() if fault.body is not None else body, after)


async def _announce(world: World, provider: Provider, sendings: Sequence[Sending]) -> None:
    now = world.clock.now()
    for sending in sendings:
        if provider.callbacks.immediate:
            await provider.callbacks.first_now(sending, now)
        else:
            provider.callbacks.schedule(sending, now)
