"""Writers of one SQLite file take turns: nobody starves, a cancelled waiter blocks nobody, and waiting has an end."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from callboard.errors import Unavailable
from callboard_adapters.sql import turns
from callboard_adapters.sql.engine import create_engine
from callboard_adapters.sql.turns import Turns, writing


@asynccontextmanager
async def engine_on(file: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(f"sqlite:///{file}")
    yield engine
    await engine.dispose()


async def hammer(file: Path, until: float, hold: float) -> list[float]:
    """Write back to back with two tasks; how long each write had to wait."""
    waits: list[float] = []

    async def writer(engine: AsyncEngine) -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            async with writing(engine) as connection:
                waits.append(time.monotonic() - began)
                await connection.execute(text("UPDATE n SET n = n + 1"))
                await asyncio.sleep(hold)

    async with engine_on(file) as engine:
        await asyncio.gather(writer(engine), writer(engine))
    return waits


def _other_process(file: Path, until: float, results: multiprocessing.Queue[list[float]]) -> None:
    results.put(asyncio.run(hammer(file, until, 0.004)))


async def test_two_busy_processes_both_get_their_turns(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    async with engine_on(file) as engine, writing(engine) as connection:
        await connection.execute(text("CREATE TABLE n (n INTEGER)"))
        await connection.execute(text("INSERT INTO n VALUES (0)"))
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    until = time.monotonic() + 6
    other = context.Process(target=_other_process, args=(file, until, results))
    other.start()
    mine = await hammer(file, until, 0.004)
    theirs = await asyncio.to_thread(results.get)
    await asyncio.to_thread(other.join)
    async with engine_on(file) as engine, writing(engine) as connection:
        assert await connection.scalar(text("SELECT n FROM n")) == len(mine) + len(theirs)
    fewer, more = sorted((len(mine), len(theirs)))
    assert fewer > 20
    assert fewer > more / 10, "one process kept the other from writing"


async def test_a_cancelled_waiter_neither_holds_nor_gives_away_a_turn(tmp_path: Path) -> None:
    path = str(tmp_path / "turn")
    ours, others = Turns(path), Turns(path)
    async with others.turn():

        async def wait() -> None:
            async with ours.turn():
                raise AssertionError

        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0.05)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        late = asyncio.create_task(_turn(ours))
        await asyncio.sleep(0.05)
        assert not late.done()  # the other engine has its turn still
    await asyncio.wait_for(late, 2)
    async with ours.turn():
        blocked = asyncio.create_task(_turn(others))
        await asyncio.sleep(0.1)
        assert not blocked.done()  # what the cancelled one got late did not end our turn
    await asyncio.wait_for(blocked, 2)


async def _turn(turns: Turns) -> None:
    async with turns.turn():
        pass


async def test_a_turn_that_does_not_come_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.2)
    path = str(tmp_path / "turn")
    ours, others = Turns(path), Turns(path)
    async with others.turn():
        for _ in range(2):
            with pytest.raises(Unavailable):
                await _turn(ours)
    await asyncio.wait_for(_turn(ours), 2)


async def test_a_failed_transaction_gives_its_turn_back(tmp_path: Path) -> None:
    async with engine_on(tmp_path / "x.db") as engine:
        with pytest.raises(ZeroDivisionError):
            async with writing(engine):
                raise ZeroDivisionError
        async with asyncio.timeout(2), writing(engine) as connection:
            await connection.execute(text("SELECT 1"))
