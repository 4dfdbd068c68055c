from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from callboard_adapters.files import read_ahead


async def test_items_come_in_order_and_are_made_in_another_thread() -> None:
    threads = set()

    def numbers() -> Iterator[int]:
        for n in range(5):
            threads.add(threading.get_ident())
            yield n

    assert [n async for n in read_ahead(numbers())] == [0, 1, 2, 3, 4]
    assert threading.get_ident() not in threads


async def test_the_next_item_is_made_while_the_last_one_is_used_and_no_more_than_that() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for n in range(10):
            made.append(n)
            yield n

    items = read_ahead(numbers())
    assert await anext(items) == 0
    while len(made) < 2:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert made == [0, 1]
    await items.aclose()  # type: ignore[attr-defined]


async def test_an_error_of_the_file_is_raised_where_the_items_are_used() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("torn")

    got = []
    with pytest.raises(ValueError, match="torn"):
        async for n in read_ahead(broken()):
            got.append(n)
    assert got == [1]


async def test_who_stops_early_waits_for_the_thread_that_still_reads() -> None:
    reading = threading.Event()

    def slow() -> Iterator[int]:
        yield 1
        reading.set()
        threading.Event().wait(0.05)
        reading.clear()
        yield 2

    items = read_ahead(slow())
    assert await anext(items) == 1
    while not reading.is_set():
        await asyncio.sleep(0.001)
    await items.aclose()  # type: ignore[attr-defined]
    assert not reading.is_set()
