"""From an exception to what the caller may know of it; each surface prints it its own way."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from types import MappingProxyType

import attrs
from litestar.exceptions import HTTPException, InternalServerException

from callboard.errors import CoreError, RateLimited, RequestInFlight

STATUSES: Mapping[str, int] = MappingProxyType(
    {
        "VALIDATION_ERROR": 400,
        "NO_RECIPIENTS": 400,
        "UNAUTHORIZED": 401,
        "INSUFFICIENT_CREDITS": 402,
        "FORBIDDEN": 403,
        "NOT_FOUND": 404,
        "METHOD_NOT_ALLOWED": 405,
        "CONFLICT": 409,
        "NOT_CONFIGURED": 409,
        "GONE": 410,
        "PAYLOAD_TOO_LARGE": 413,
        "UNSUPPORTED_MEDIA_TYPE": 415,
        "IDEMPOTENCY_KEY_REUSED": 422,
        "RATE_LIMITED": 429,
        "INTERNAL_ERROR": 500,
        "UNAVAILABLE": 503,
    }
)
"""Code → HTTP status; a code that is not here has the status of its nearest parent class, at last 400."""

_CODES = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    410: "GONE",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMITED",
    503: "UNAVAILABLE",
}
_SENTENCES = {
    400: "Validation failed",
    401: "Authentication required",
    403: "Not allowed with this credential",
    404: "Resource not found",
    405: "Method not allowed",
    413: "The body is too large",
    415: "Unsupported media type",
    429: "Too many requests",
    503: "Temporarily unavailable, try again",
}
_RETRY_SOON = "2"
_FRAMES = 12


@attrs.frozen(kw_only=True)
class Failure:
    """An answer that is not a success. ``message`` and ``details`` hold nothing the caller may not see."""

    status: int
    code: str
    message: str
    details: Mapping[str, object] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)


def failure_of(exc: BaseException, statuses: Mapping[str, int] = STATUSES) -> Failure:
    """What a caller is told of ``exc``; an unexpected one says nothing about itself."""
    if isinstance(exc, CoreError):
        return _refusal(exc, statuses)
    if isinstance(exc, HTTPException) and not isinstance(exc, InternalServerException):
        return _http(exc)
    if isinstance(exc, InternalServerException) and exc.detail == "client disconnected prematurely":
        return Failure(status=400, code="VALIDATION_ERROR", message="The body ended early")
    if isinstance(exc, RecursionError):
        return Failure(status=400, code="VALIDATION_ERROR", message="The body is nested too deeply")
    return Failure(status=500, code="INTERNAL_ERROR", message="Internal server error")


def _refusal(exc: CoreError, statuses: Mapping[str, int]) -> Failure:
    codes = [kind.code for kind in type(exc).__mro__ if issubclass(kind, CoreError)]
    status = next((statuses[code] for code in codes if code in statuses), 400)
    headers = {}
    if isinstance(exc, RateLimited):
        headers["Retry-After"] = str(exc.retry_after)
    elif isinstance(exc, RequestInFlight):
        headers["Retry-After"] = "1"
    elif status == 503:
        headers["Retry-After"] = _RETRY_SOON
    return Failure(status=status, code=exc.code, message=exc.message, details=exc.details, headers=headers)


def _http(exc: HTTPException) -> Failure:
    status = exc.status_code
    code = _CODES.get(status, "ERROR" if status < 500 else "INTERNAL_ERROR")
    message = _SENTENCES.get(status, "Bad request" if status < 500 else "Internal server error")
    headers = {name: value for name, value in (exc.headers or {}).items() if name.lower() in {"allow", "retry-after"}}
    return Failure(status=status, code=code, message=message, details=_details(exc.extra), headers=headers)


def _details(extra: object) -> Mapping[str, object]:
    """Field and reason of the first of Litestar's ``[{key, message, source}]`` or our ``[{field, reason}]``."""
    if not isinstance(extra, list) or not extra or not isinstance(extra[0], dict):
        return {}
    first = extra[0]
    field = first.get("field", first.get("key", ""))
    reason = first.get("reason", first.get("message", ""))
    if (field, reason) == ("data", "'data'"):  # Litestar's words for an empty body
        return {"field": "body", "reason": "A JSON body is required"}
    return {"field": str(field), "reason": str(reason)}


def outline(error: BaseException) -> dict[str, object]:
    """What a log line may say of a failure: kinds and places. Its text and variables may hold what a customer sent."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = [f"{frame.filename.rpartition('site-packages/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    cause = error.__cause__ or error.__context__
    return {"error": type(error).__name__, "cause": type(cause).__name__ if cause else None, "trace": places}
