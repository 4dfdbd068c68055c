"""What every callback handler shares: raw headers, the cap, the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from litestar import Request

from callboard.errors import InvalidInput, Unauthenticated

CALLBACK_LIMIT = 4 * 1024 * 1024
PUBLIC = {"public": True}
_HASHED_AT_ONCE = 1024 * 1024


def raw_header(request: Request[Any, Any, Any], name: str) -> bytes | None:
    """A header's bytes as they came; None when it is missing or there twice."""
    wanted = name.lower().encode()
    found = [value for key, value in request.scope["headers"] if key.lower() == wanted]
    return found[0] if len(found) == 1 else None


async def matching(secrets: Iterable[str], body: bytes, fits: Callable[[str], bool]) -> frozenset[str]:
    """Those of ``secrets`` whose signature ``fits``.

    A callback that names no tenant is tried against every tenant's secret. Where that is much to hash, it is done off
    the event loop, so that a stranger's large body holds up nobody.
    """
    distinct = set(secrets)

    def find() -> frozenset[str]:
        return frozenset(secret for secret in distinct if fits(secret))

    return await asyncio.to_thread(find) if len(distinct) * len(body) > _HASHED_AT_ONCE else find()


def bad_signature() -> Unauthenticated:
    """Missing, wrong and for another body: all the same."""
    return Unauthenticated("Authentication required")


def unreadable() -> InvalidInput:
    """The signature is good, the body is not what it should be."""
    return InvalidInput("Not a callback of this provider", field="body")
