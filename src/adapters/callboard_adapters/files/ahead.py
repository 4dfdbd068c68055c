"""Reading the next part of a file while the last one is being written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final, TypeVar

T = TypeVar("T")
_END: Final = object()


async def read_ahead(items: Iterator[T]) -> AsyncIterator[T]:
    """The items in order, each made in a thread while its predecessor is in use: at most one waits.

    The event loop stays free meanwhile. Errors of ``items`` are raised here; when the caller stops early, the item in
    the making is waited for, because its thread still holds the file.
    """
    coming = asyncio.ensure_future(asyncio.to_thread(next, items, _END))
    try:
        while (item := await coming) is not _END:
            coming = asyncio.ensure_future(asyncio.to_thread(next, items, _END))
            yield item  # type: ignore[misc]
    finally:
        if not coming.done():
            await asyncio.wait([coming])
