"""Turns for writing to an SQLite file: its own lock is polled without order, so a busy writer can starve all others.

Tasks of one engine queue up in order; engines of other threads and processes meet at a lock file beside the database,
where the kernel wakes whoever waits. PostgreSQL needs none of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from callboard.errors import Unavailable

try:
    import fcntl
except ImportError:  # Windows: SQLite's own lock alone
    fcntl = None  # type: ignore[assignment]

PATIENCE: Final = 15.0


class Turns:
    """The queue of one engine's writers. ``path`` None for a database in memory."""

    def __init__(self, path: str | None) -> None:
        self._lock = asyncio.Lock()
        self._file: int | None = None
        if path is not None and fcntl is not None:
            try:
                self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except OSError as error:  # the folder is missing or not ours: so is the database
                raise Unavailable("The database cannot be opened") from error

    def __del__(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for our turn; :class:`Unavailable` after fifteen seconds."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._take()
        except TimeoutError:
            raise Unavailable("The database is busy") from None
        try:
            yield
        finally:
            self._give()

    async def _take(self) -> None:
        await self._lock.acquire()
        if self._file is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting = asyncio.get_running_loop().run_in_executor(None, fcntl.flock, self._file, fcntl.LOCK_EX)
            try:
                await asyncio.shield(waiting)
            except asyncio.CancelledError:
                waiting.add_done_callback(
                    self._give
                )  # the thread cannot be called back: whatever it gets is given back
                raise

    def _give(self, _waited: object = None) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._lock.release()


_turns: WeakKeyDictionary[AsyncEngine, Turns] = WeakKeyDictionary()


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that may write, on SQLite in its turn."""
    if engine.dialect.name != "sqlite":
        async with engine.begin() as connection:
            yield connection
        return
    turns = _turns.get(engine)
    if turns is None:
        database = engine.url.database
        turns = _turns[engine] = Turns(None if database in {None, "", ":memory:"} else f"{database}-turn")
    async with turns.turn(), engine.begin() as connection:
        yield connection
