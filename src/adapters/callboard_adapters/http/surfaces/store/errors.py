"""How the store says no: ``{success:false, error, message, details?, code}``; ``message`` is always a text."""

from __future__ import annotations

from callboard_adapters.http.failure import Failure

_WORDS = {"VALIDATION_ERROR": "validation_error", "NOT_FOUND": "not_found", "UNAUTHORIZED": "unauthorized"}
_SENTENCES = {
    "VALIDATION_ERROR": "Validation failed",
    "UNAUTHORIZED": "Authentication required",
    "NOT_FOUND": "Resource not found",
}
"""The contract's own sentences; what went wrong in particular is in ``details``."""


def render(failure: Failure) -> object:
    """The store's error object. A validation's own words stand in ``details.reason``."""
    details = dict(failure.details)
    message = _SENTENCES.get(failure.code, failure.message)
    if failure.code == "VALIDATION_ERROR" and failure.message != message:
        details.setdefault("reason", failure.message)
    body: dict[str, object] = {
        "success": False,
        "error": _WORDS.get(failure.code, failure.code.lower()),
        "message": message,
        "code": failure.code,
    }
    if details:
        body["details"] = details
    return body
