"""The tree of refusals the core can answer; adapters translate codes, the core knows no HTTP status."""

from __future__ import annotations

from typing import ClassVar


class CoreError(Exception):
    """A refusal with a stable ``code``, a sentence for people and details for programs.

    ``details`` holds JSON-ready values only and never a secret, phone or message text.
    """

    code: ClassVar[str] = "ERROR"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInput(CoreError):
    """What was given cannot be understood; ``details["field"]`` names the field."""

    code = "VALIDATION_ERROR"

    def __init__(self, message: str, *, field: str, **details: object) -> None:
        super().__init__(message, field=field, **details)
        self.field = field


class NotFound(CoreError):
    """Unknown here; an object of another tenant is unknown as well."""

    code = "NOT_FOUND"


class Gone(CoreError):
    """It was there and has expired."""

    code = "GONE"


class Unauthenticated(CoreError):
    """The credential is missing, wrong, expired or revoked; which of these is not said."""

    code = "UNAUTHORIZED"


class Forbidden(CoreError):
    """The credential is good but not for this surface or scope."""

    code = "FORBIDDEN"


class Conflict(CoreError):
    """The state of things does not allow it now."""

    code = "CONFLICT"


class InvalidStatus(Conflict):
    """The object's life cycle has no such transition from where it is."""

    code = "INVALID_STATUS"


class AlreadySending(Conflict):
    """The campaign is being sent already."""

    code = "ALREADY_SENDING"


class AlreadyExists(Conflict):
    """A unique value is taken."""

    code = "ALREADY_EXISTS"


class NoRecipients(CoreError):
    """The audience is understood and empty."""

    code = "NO_RECIPIENTS"


class InsufficientCredits(CoreError):
    """The balance does not cover the debit; nothing was debited."""

    code = "INSUFFICIENT_CREDITS"


class RateLimited(CoreError):
    """Too many; ``retry_after`` seconds until the next one is taken."""

    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after: int, **details: object) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class IdempotencyKeyReused(CoreError):
    """The key was used for another body."""

    code = "IDEMPOTENCY_KEY_REUSED"


class RequestInFlight(Conflict):
    """The first request with this idempotency key has not answered yet."""

    code = "REQUEST_IN_FLIGHT"


class NotConfigured(CoreError):
    """A setting is missing; the message says which and how to set it."""

    code = "NOT_CONFIGURED"


class Unavailable(CoreError):
    """Something we depend on does not answer; the same call may succeed later."""

    code = "UNAVAILABLE"
