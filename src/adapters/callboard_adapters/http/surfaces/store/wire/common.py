"""Envelopes, pages and the small readings that every resource shares."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from re import compile as pattern
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from litestar.params import QueryParameter
from msgspec import UNSET, Struct, UnsetType

from callboard.errors import InvalidInput, NotFound
from callboard.paging import Page, PageRequest

T = TypeVar("T")
_UUID = pattern(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

PageNumber = Annotated[int | None, QueryParameter(name="page", description="From 1.")]
PageSize = Annotated[int | None, QueryParameter(name="pageSize", description="1 to 100; more is capped.")]
Limit = Annotated[int | None, QueryParameter(name="limit", description="The same as pageSize.")]


class Camel(Struct, rename="camel", kw_only=True):
    """The dialect: camelCase keys; unknown keys of a body are ignored."""


class Ok(Camel, Generic[T], kw_only=True):
    """``{success, data, message?}``."""

    success: bool = True
    data: T
    message: str | UnsetType = UNSET


class ErrorOut(Camel, kw_only=True):
    """How the store says no."""

    success: bool = False
    error: str
    message: str
    code: str
    details: dict[str, Any] | UnsetType = UNSET


class Pagination(Camel):
    """Where a page stands in its list."""

    page: int
    page_size: int
    total: int
    total_pages: int
    has_next_page: bool
    has_prev_page: bool


class Listed(Camel, Generic[T], kw_only=True):
    """``{success, data:[…], pagination}``."""

    success: bool = True
    data: list[T]
    pagination: Pagination


class Removed(Camel):
    """What a DELETE answers."""

    id: str
    deleted: bool = True


def pagination(page: Page[Any]) -> Pagination:
    """The contract's pagination object of a page."""
    request = page.request
    return Pagination(
        page=request.number,
        page_size=request.size,
        total=page.total,
        total_pages=page.pages,
        has_next_page=request.number < page.pages,
        has_prev_page=request.number > 1,
    )


def page_request(page: int | None, *sizes: int | None) -> PageRequest:
    """The first size that was given counts; InvalidInput for a page or size below 1."""
    return PageRequest.of(page, next((size for size in sizes if size is not None), None))


def read_id(text: str) -> UUID:
    """An id in a path: anything that is none is as unknown as an unknown one."""
    if not _UUID.fullmatch(text):
        raise NotFound("Resource not found")
    return UUID(text)


def read_ids(texts: Sequence[str], *, field: str) -> list[UUID]:
    """Ids in a body; what is none names its place."""
    for index, text in enumerate(texts):
        if not _UUID.fullmatch(text):
            raise InvalidInput("Not an id", field=f"{field}[{index}]")
    return [UUID(text) for text in texts]


def read_moment(at: datetime, *, field: str) -> datetime:
    """A moment in UTC; those that only exist beyond the calendar are refused."""
    try:
        return at.astimezone(UTC)
    except (OverflowError, ValueError):
        raise InvalidInput("Not a usable time", field=field) from None


def given(value: T | UnsetType) -> bool:
    """Whether the body had the key at all."""
    return not isinstance(value, UnsetType)
