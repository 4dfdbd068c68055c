"""Meta's error codes as data: one row per code of providers.md 1.4, one verb per row.

The code decides, not the HTTP status, with one exception: over a 5xx a retry is only safe where the code itself says
that the message was not taken (``certain``); everything else there is ambiguous (reliability.md section 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Final

import attrs

from callboard.messages.model import Reason
from callboard.messages.ports import Ambiguous, Answer, NotSent, Refused, SenderBlocked


class Verb(StrEnum):
    """What an error means for what we do next."""

    RETRY_NOW = "retry_now"
    RETRY_AFTER = "retry_after"
    NEVER_FOR_RECIPIENT = "never_for_recipient"
    NEVER_FOR_TEMPLATE = "never_for_template"
    PAUSE_SENDER = "pause_sender"
    REAUTH = "reauth"
    STOP = "stop"


@attrs.frozen(kw_only=True)
class Rule:
    """One row. ``wait`` is how long to hold back: the message for retries, the sender for the last three verbs.

    ``throttled``: a rate limit, which burns no attempt. ``opted_out``: the person stopped marketing.
    ``certain``: the message was not taken, whatever the HTTP status says.
    """

    verb: Verb
    says: str
    reason: Reason = Reason.REFUSED
    wait: timedelta | None = None
    throttled: bool = False
    opted_out: bool = False
    certain: bool = False


def _seconds(n: float) -> timedelta:
    return timedelta(seconds=n)


def _busy(says: str, wait: float, *, throttled: bool = False, certain: bool = False) -> Rule:
    return Rule(
        verb=Verb.RETRY_AFTER,
        says=says,
        reason=Reason.PROVIDER_BUSY,
        wait=_seconds(wait),
        throttled=throttled,
        certain=certain,
    )


def _no(says: str, reason: Reason = Reason.REFUSED, *, opted_out: bool = False) -> Rule:
    return Rule(verb=Verb.NEVER_FOR_RECIPIENT, says=says, reason=reason, opted_out=opted_out)


def _template(says: str) -> Rule:
    return Rule(verb=Verb.NEVER_FOR_TEMPLATE, says=says, reason=Reason.TEMPLATE_REFUSED)


def _pause(says: str, hours: float) -> Rule:
    return Rule(verb=Verb.PAUSE_SENDER, says=says, wait=timedelta(hours=hours), certain=True)


def _reauth(says: str) -> Rule:
    return Rule(verb=Verb.REAUTH, says=says, wait=timedelta(minutes=15), certain=True)


def _stop(says: str) -> Rule:
    return Rule(verb=Verb.STOP, says=says, wait=timedelta(hours=1), certain=True)


RULES: Final[Mapping[int, Rule]] = {
    # credentials and permissions
    0: _reauth("authentication failed"),
    190: _reauth("the access token is expired or invalid: set WHATSAPP_ACCESS_TOKEN"),
    3: _stop("the app lacks a capability"),
    10: _stop("the app lacks a permission"),
    131005: _stop("access denied"),
    # limits
    4: _busy("app call limit", 300, throttled=True, certain=True),
    80007: _busy("account call limit", 300, throttled=True, certain=True),
    130429: _busy("throughput of the number exceeded", 2, throttled=True, certain=True),
    131056: _busy("too many messages to this person", 6, throttled=True, certain=True),
    133016: _stop("too many registrations of the number"),
    131048: _pause("spam rate: the number is restricted", 6),
    131064: _pause("limited for template classification violations", 24),
    # policy and account
    368: _pause("blocked for policy violations", 24),
    131031: _pause("the account is locked", 24),
    131042: _pause("payment or eligibility problem", 1),
    130497: _no("the country is restricted"),
    131037: _stop("the display name is not approved"),
    131045: _stop("the number is not registered properly"),
    33: _stop("the phone number id is unknown or deleted: check WHATSAPP_PHONE_NUMBER_ID"),
    133010: _stop("the number is not registered"),
    133015: _busy("the number was just deleted", 300, throttled=True, certain=True),
    # server faults
    1: _busy("unknown error", 10),
    2: _busy("service temporarily down", 10),
    131000: _busy("something went wrong", 10),
    131016: _busy("service unavailable", 10),
    131057: _busy("the account is in maintenance mode", 60, throttled=True, certain=True),
    133004: _busy("server temporarily unavailable", 10, certain=True),
    # the request
    100: _no("a parameter is invalid"),
    131008: _no("a parameter is missing"),
    131009: _no("a parameter value is invalid"),
    131021: _no("sender and recipient are the same", Reason.INVALID_NUMBER),
    131051: _no("the message type is not supported"),
    131052: _no("the media cannot be downloaded"),
    131053: _no("the media cannot be uploaded"),
    131062: _no("this recipient form is not supported here"),
    131063: _stop("marketing templates are disabled on this API"),
    135000: _no("generic user error"),
    137000: _no("the identity key does not match"),
    # the recipient
    130472: _no("the person is part of an experiment", Reason.MARKETING_LIMIT),
    131026: _no("undeliverable: not on WhatsApp or not reachable there", Reason.NOT_ON_CHANNEL),
    131030: _no("not in the allow list of the test number"),
    131047: _no("more than 24 hours since the person last wrote"),
    131049: _no("Meta limits marketing messages to this person", Reason.MARKETING_LIMIT),
    131050: _no("the person stopped marketing messages", Reason.OPTED_OUT, opted_out=True),
    # the template
    132000: _template("parameter count differs from the template"),
    132001: _template("no such template in this language, or not approved"),
    132005: _template("the filled text is too long"),
    132007: _template("the text breaks the character policy"),
    132008: _template("a parameter value does not fit"),
    132012: _template("a parameter has the wrong format"),
    132015: _template("the template is paused"),
    132016: _template("the template is disabled"),
    132018: _template("the template does not validate"),
    132068: _template("the flow is blocked"),
    132069: _busy("the flow is throttled", 60, throttled=True, certain=True),
    134101: _busy("the template is still being synchronised", 600, throttled=True, certain=True),
    134102: _template("the template is unavailable"),
}

PERMISSIONS: Final = range(200, 300)
"""Codes that all mean: a permission is missing."""

UNKNOWN_SUBCODE_33: Final = 33
"""``error_subcode`` of code 100 that names an object which does not exist: the phone number id, not the recipient."""

BY_STATUS: Final[Mapping[int, Rule]] = {
    401: _reauth("the access token is not accepted: set WHATSAPP_ACCESS_TOKEN"),
    403: _stop("the access token may not send"),
    404: _stop("no such address: check CALLBOARD_WHATSAPP_BASE_URL"),
    405: _stop("no such address: check CALLBOARD_WHATSAPP_BASE_URL"),
    429: _busy("too many requests", 2, throttled=True),
}
"""For answers without a readable Graph error. Redirects count as 404."""


def rule_of(code: int, subcode: int | None = None) -> Rule | None:
    """The row for a code; None for a code nobody has described."""
    if code == 100 and subcode == UNKNOWN_SUBCODE_33:
        return RULES[33]
    if code in PERMISSIONS:
        return RULES[10]
    return RULES.get(code)


def meaning(rule: Rule, code: str, retry_after: float | None = None) -> Answer:
    """A row as an answer of the channel."""
    match rule.verb:
        case Verb.RETRY_NOW:
            return NotSent(reason=rule.reason, provider_code=code)
        case Verb.RETRY_AFTER:
            wait = rule.wait.total_seconds() if rule.wait else 0.0
            after = min(retry_after if retry_after is not None else wait, 3600.0)
            return NotSent(reason=rule.reason, provider_code=code, retry_after=after, throttled=rule.throttled)
        case Verb.NEVER_FOR_RECIPIENT | Verb.NEVER_FOR_TEMPLATE:
            return Refused(reason=rule.reason, provider_code=code, opted_out=rule.opted_out)
        case Verb.PAUSE_SENDER | Verb.REAUTH | Verb.STOP:
            return SenderBlocked(provider_code=code, reason=rule.says, pause=rule.wait or timedelta(hours=1))


def refusal(status: int, code: int | None, subcode: int | None, retry_after: float | None) -> Answer:
    """What an answer that is not 2xx means. ``code`` is None when the body is not a Graph error."""
    if code is None:
        rule = BY_STATUS.get(404 if 300 <= status < 400 else status)
        name = f"http_{status}"
        return Ambiguous(provider_code=name) if rule is None else meaning(rule, name, retry_after)
    name = str(code)
    rule = rule_of(code, subcode)
    if status >= 500 and (rule is None or (rule.verb in (Verb.RETRY_NOW, Verb.RETRY_AFTER) and not rule.certain)):
        return Ambiguous(provider_code=name)
    if rule is None:
        if status in BY_STATUS:
            return meaning(BY_STATUS[status], name, retry_after)
        return Refused(reason=Reason.REFUSED, provider_code=name) if status < 500 else Ambiguous(provider_code=name)
    return meaning(rule, name, retry_after)


def failure(code: int | None) -> tuple[Reason, bool]:
    """Why a message failed after acceptance, for a status webhook, and whether the person stopped marketing.

    Always ``undelivered``: that word tells a message the provider took (and was paid for) from one it refused. Meta's
    code, stored beside it, says what happened.
    """
    rule = rule_of(code) if code is not None else None
    return Reason.UNDELIVERED, rule is not None and rule.opted_out
