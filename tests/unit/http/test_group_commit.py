"""Group commit: nobody is answered before his item is committed, nobody suffers for his neighbour."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from callboard.errors import Unavailable
from callboard_adapters.webhooks.group import GroupCommit


class Store:
    """Commits batches slowly and remembers them; refuses what it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def committed(self) -> list[int]:
        return [item for batch in self.batches for item in batch]

    async def write(self, batch: Sequence[int]) -> None:
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("down")
        if any(item < 0 for item in batch):
            raise ValueError("poison")
        self.batches.append(list(batch))


async def test_answer_comes_after_the_commit_that_holds_the_item() -> None:
    store = Store()
    group = GroupCommit(store.write)
    store.gate.clear()
    waiting = asyncio.create_task(group.add(1))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    store.gate.set()
    await waiting
    assert store.committed == [1]


async def test_what_arrives_during_a_commit_is_one_batch() -> None:
    store = Store()
    group = GroupCommit(store.write)
    store.gate.clear()
    tasks = [asyncio.create_task(group.add(n)) for n in range(100)]
    await asyncio.sleep(0.01)
    store.gate.set()
    await asyncio.gather(*tasks)
    assert store.committed == list(range(100))
    assert len(store.batches) <= 2


async def test_batches_are_bounded() -> None:
    store = Store()
    group = GroupCommit(store.write, most=10)
    await asyncio.gather(*(group.add(n) for n in range(95)))
    assert sorted(store.committed) == list(range(95))
    assert max(map(len, store.batches)) <= 10


async def test_item_that_cannot_be_written_fails_alone() -> None:
    store = Store()
    group = GroupCommit(store.write)
    results = await asyncio.gather(*(group.add(n) for n in (1, -2, 3)), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ValueError, type(None)]
    assert sorted(store.committed) == [1, 3]


async def test_store_that_is_down_fails_everybody_and_the_next_one_works() -> None:
    store = Store()
    group = GroupCommit(store.write)
    store.down = True
    results = await asyncio.gather(*(group.add(n) for n in range(5)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    store.down = False
    await group.add(6)
    assert store.committed == [6]


async def test_caller_that_goes_away_takes_nobody_with_it() -> None:
    store = Store()
    group = GroupCommit(store.write)
    store.gate.clear()
    first, second = asyncio.create_task(group.add(1)), asyncio.create_task(group.add(2))
    await asyncio.sleep(0.01)
    first.cancel()
    store.gate.set()
    await second
    await group.drain()
    assert sorted(store.committed) == [1, 2]


async def test_crowd_is_refused_instead_of_growing_for_ever() -> None:
    store = Store()
    group = GroupCommit(store.write, longest=3)
    store.gate.clear()
    tasks = [asyncio.create_task(group.add(n)) for n in range(10)]
    await asyncio.sleep(0.01)
    store.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [result for result in results if isinstance(result, Unavailable)]
    assert refused
    assert len(store.committed) + len(refused) == 10


async def test_drain_waits_for_what_is_being_written() -> None:
    store = Store()
    group = GroupCommit(store.write)
    task = asyncio.create_task(group.add(1))
    await asyncio.sleep(0)
    await group.drain()
    assert store.committed == [1]
    await task
