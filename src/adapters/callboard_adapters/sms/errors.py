"""Mitto's refusals and report words as data.

Mitto publishes no error catalogue we could read (providers.md section 7 rests on one public program), so refusals are
told apart by HTTP status, and by the word in the body where there is one. Unknown words fall back to the status.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Final

import attrs

from callboard.messages.model import Fact, Reason
from callboard.messages.ports import Ambiguous, Answer, NotSent, Refused, SenderBlocked


class Verb(StrEnum):
    """What a refusal means for what we do next."""

    RETRY_NOW = "retry_now"
    RETRY_AFTER = "retry_after"
    NEVER_FOR_RECIPIENT = "never_for_recipient"
    PAUSE_SENDER = "pause_sender"
    REAUTH = "reauth"
    STOP = "stop"


@attrs.frozen(kw_only=True)
class Rule:
    """One row: the verb, the reason people are shown, and how long to wait or pause."""

    verb: Verb
    reason: Reason = Reason.REFUSED
    wait: timedelta | None = None
    says: str = ""


BY_STATUS: Final[Mapping[int, Rule]] = {
    400: Rule(verb=Verb.NEVER_FOR_RECIPIENT, says="bad request"),
    401: Rule(verb=Verb.REAUTH, wait=timedelta(minutes=15), says="the API key is not accepted"),
    402: Rule(verb=Verb.PAUSE_SENDER, wait=timedelta(minutes=30), says="the provider account has no balance"),
    403: Rule(verb=Verb.REAUTH, wait=timedelta(minutes=15), says="the API key may not send"),
    404: Rule(verb=Verb.STOP, wait=timedelta(minutes=15), says="no such address: check CALLBOARD_SMS_BASE_URL"),
    405: Rule(verb=Verb.STOP, wait=timedelta(minutes=15), says="no such address: check CALLBOARD_SMS_BASE_URL"),
    413: Rule(verb=Verb.NEVER_FOR_RECIPIENT, says="too large"),
    422: Rule(verb=Verb.NEVER_FOR_RECIPIENT, says="not processable"),
    429: Rule(verb=Verb.RETRY_AFTER, reason=Reason.PROVIDER_BUSY, wait=timedelta(seconds=1), says="too many requests"),
}
"""Redirects are not in it: they mean a wrong address and count as 404. 5xx and anything else is ambiguous."""

BY_WORD: Final[Mapping[str, Rule]] = {
    "invaliddestination": Rule(verb=Verb.NEVER_FOR_RECIPIENT, reason=Reason.INVALID_NUMBER),
    "invalidnumber": Rule(verb=Verb.NEVER_FOR_RECIPIENT, reason=Reason.INVALID_NUMBER),
    "invalidsender": Rule(verb=Verb.STOP, wait=timedelta(minutes=15), says="CALLBOARD_SMS_SENDER is refused"),
    "insufficientbalance": Rule(
        verb=Verb.PAUSE_SENDER, wait=timedelta(minutes=30), says="the provider account has no balance"
    ),
    "blacklisted": Rule(verb=Verb.NEVER_FOR_RECIPIENT, reason=Reason.SUPPRESSED),
}
"""Known error words, letters only in lower case. Our twin speaks these; a live account may add to them."""

REFUSED_STATUSES: Final = frozenset({"rejected", "rejectd", "failed", "failure", "invalid", "undeliverable"})
"""Words in the answer to a send that mean: not taken."""

FACTS: Final[Mapping[str, Fact]] = {
    "sent": Fact.SENT,
    "buffered": Fact.SENT,
    "delivered": Fact.DELIVERED,
    "delivrd": Fact.DELIVERED,
    "read": Fact.READ,
    "failure": Fact.FAILED,
    "failed": Fact.FAILED,
    "undelivered": Fact.FAILED,
    "undeliv": Fact.FAILED,
    "undeliverable": Fact.FAILED,
    "expired": Fact.FAILED,
    "rejected": Fact.FAILED,
    "rejectd": Fact.FAILED,
    "deleted": Fact.FAILED,
}
"""Delivery report words, letters only in lower case. ``queued``, ``accepted`` and unknown words say nothing new."""


def word(text: object) -> str:
    """The letters of a provider's word in lower case: ``Invalid_Destination`` and ``invalid destination`` are one."""
    return "".join(c for c in text.lower() if c.isalpha()) if isinstance(text, str) else ""


def refusal(status: int, code: str | None, retry_after: float | None, *, readable: bool) -> Answer:
    """What an answer that is not 2xx means. ``readable``: the body is a provider error, not a proxy's page.

    A 4xx nobody can read proves nothing, except where the status alone says that nothing was done.
    """
    rule = BY_WORD.get(word(code)) if 400 <= status < 500 and readable else None
    if rule is None:
        rule = BY_STATUS.get(404 if 300 <= status < 400 else status)
    name = code if code and readable else f"http_{status}"
    if rule is None or (not readable and rule.verb is Verb.NEVER_FOR_RECIPIENT):
        return Ambiguous(provider_code=name)
    match rule.verb:
        case Verb.RETRY_NOW:
            return NotSent(reason=Reason.PROVIDER_BUSY, provider_code=name)
        case Verb.RETRY_AFTER:
            wait = rule.wait.total_seconds() if rule.wait else None
            after = min(retry_after if retry_after is not None else wait or 0.0, 3600.0)
            return NotSent(reason=rule.reason, provider_code=name, retry_after=after, throttled=True)
        case Verb.NEVER_FOR_RECIPIENT:
            return Refused(reason=rule.reason, provider_code=name)
        case Verb.PAUSE_SENDER | Verb.REAUTH | Verb.STOP:
            pause = rule.wait or timedelta(minutes=15)
            return SenderBlocked(provider_code=name, reason=rule.says, pause=pause)
