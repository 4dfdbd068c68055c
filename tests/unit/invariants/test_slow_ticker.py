"""A ticker that was away longer than its lease fires nothing: somebody else has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.unit.messages.shop import Shop

from callboard.delivery.ports import DueTimer
from callboard.delivery.ticker import LEASE, Ticker, TimerHandler
from callboard.ids import TenantId

KIND = "tests.timer"


async def test_a_timer_that_another_ticker_fired_meanwhile_is_not_fired_again() -> None:
    shop = await Shop().open(people=0)
    fired: list[str] = []

    def ticker(name: str, work: Any) -> Ticker[Any]:
        async def fire(w: Any, timer: DueTimer) -> Sequence[str]:
            fired.append(name)
            return ("dispatch",)

        async def give_up(w: Any, timer: DueTimer) -> None:
            fired.append(f"{name} gave up")

        handlers = {KIND: TimerHandler(fire=fire, give_up=give_up)}
        return Ticker(system=shop.system, work=work, hints=shop.hints, handlers=handlers)

    quick = ticker("quick", shop.work)

    @asynccontextmanager
    async def after_a_long_pause(tenant: TenantId) -> AsyncIterator[Any]:
        """Its process stood still between claiming the timer and acting on it."""
        shop.clock.advance(LEASE * 2)
        assert await quick.run_once() == 1
        async with shop.work(tenant) as w:
            yield w

    async with shop.work(shop.tenant) as w:
        await w.timers.set(KIND, "one", shop.clock.now())
    assert await ticker("slow", after_a_long_pause).run_once() == 0
    assert fired == ["quick"]
    shop.clock.advance(LEASE * 2)
    assert await quick.run_once() == 0
