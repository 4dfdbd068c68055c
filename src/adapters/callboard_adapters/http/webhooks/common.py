"""What every callback handler shares: raw headers, the cap, the answer."""

from __future__ import annotations

from typing import Any

from litestar import Request

from callboard.errors import InvalidInput, Unauthenticated

CALLBACK_LIMIT = 4 * 1024 * 1024
PUBLIC = {"public": True}


def raw_header(request: Request[Any, Any, Any], name: str) -> bytes | None:
    """A header's bytes as they came; None when it is missing or there twice."""
    wanted = name.lower().encode()
    found = [value for key, value in request.scope["headers"] if key.lower() == wanted]
    return found[0] if len(found) == 1 else None


def bad_signature() -> Unauthenticated:
    """Missing, wrong and for another body: all the same."""
    return Unauthenticated("Authentication required")


def unreadable() -> InvalidInput:
    """The signature is good, the body is not what it should be."""
    return InvalidInput("Not a callback of this provider", field="body")
