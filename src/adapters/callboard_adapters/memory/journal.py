"""Rows that remember how to be put back: what makes a rollback of the in-memory store real."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Journal:
    """What the open unit of work changed, in order."""

    def __init__(self) -> None:
        self._undo: list[tuple[dict[Any, Any], Any, tuple[Any, ...]]] = []

    def note(self, rows: dict[Any, Any], key: Any) -> None:
        """Remember what stands at ``key`` before it changes: nothing, or one value."""
        self._undo.append((rows, key, (rows[key],) if key in rows else ()))

    def commit(self) -> None:
        """Forget how to go back."""
        self._undo.clear()

    def rollback(self) -> None:
        """Put every changed key back, last change first."""
        while self._undo:
            rows, key, before = self._undo.pop()
            if before:
                rows[key] = before[0]
            else:
                rows.pop(key, None)


class Rows(Mapping[K, V], Generic[K, V]):
    """A mapping that can only be changed through the journal. Values are immutable."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._rows: dict[K, V] = {}

    def put(self, key: K, value: V) -> None:
        """Insert or replace."""
        self._journal.note(self._rows, key)
        self._rows[key] = value

    def drop(self, key: K) -> bool:
        """Remove; True when it was there."""
        if key not in self._rows:
            return False
        self._journal.note(self._rows, key)
        del self._rows[key]
        return True

    def __getitem__(self, key: K) -> V:
        return self._rows[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[K]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def values(self) -> ValuesView[V]:
        """All values, in order of insertion."""
        return self._rows.values()

    def items(self) -> ItemsView[K, V]:
        """All pairs, in order of insertion."""
        return self._rows.items()
