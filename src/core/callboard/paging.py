"""Pages of lists with a total order."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from callboard.errors import InvalidInput

T = TypeVar("T")
MAX_PAGE_SIZE = 100


@attrs.frozen(kw_only=True)
class PageRequest:
    """Page ``number`` from 1, ``size`` 1..100; use :meth:`of` for callers' values."""

    number: int = 1
    size: int = 20

    @classmethod
    def of(cls, number: int | None = None, size: int | None = None) -> PageRequest:
        """Cap an oversize page; refuse zero and negative ones by field name."""
        number = 1 if number is None else number
        size = 20 if size is None else size
        if not 1 <= number <= 10_000_000:
            raise InvalidInput("page must be 1 or more", field="page")
        if size < 1:
            raise InvalidInput("pageSize must be 1 or more", field="pageSize")
        return cls(number=number, size=min(size, MAX_PAGE_SIZE))

    @property
    def offset(self) -> int:
        """Rows before this page."""
        return (self.number - 1) * self.size


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """One page and the total number of rows behind the list."""

    items: tuple[T, ...]
    total: int
    request: PageRequest

    @property
    def pages(self) -> int:
        """Number of pages, 0 for an empty list."""
        return -(-self.total // self.request.size)
