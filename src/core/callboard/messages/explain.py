"""The stored decision in words: what ``callboard why`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from callboard.messages.gate import Decision, Hold, Send, Skip
from callboard.messages.model import Message, Reason, State

WORDS: Mapping[Reason, str] = {
    Reason.CLEARED: "every check passed",
    Reason.CONSENT_MISSING: "the contact has not agreed to marketing",
    Reason.OPTED_OUT: "the contact opted out of marketing",
    Reason.SUPPRESSED: "the number is on the suppression list",
    Reason.INVALID_NUMBER: "the phone is not a number a provider can reach",
    Reason.CONTACT_DELETED: "the contact was deleted",
    Reason.DUPLICATE: "the same number was already written to in this round",
    Reason.CAMPAIGN_CANCELLED: "the campaign was cancelled before this message left",
    Reason.CAMPAIGN_PAUSED: "the campaign is paused",
    Reason.INSUFFICIENT_CREDITS: "no credit stands behind this message",
    Reason.QUIET_HOURS: "the shop's quiet hours are on",
    Reason.FREQUENCY_CAP: "the number got as many marketing messages as the shop allows",
    Reason.MISSING_VARIABLE: "a variable the message cannot go without has no value",
    Reason.EXPIRED: "it waited so long that it would come too late",
    Reason.PROVIDER_BUSY: "the provider asked us to slow down",
    Reason.PROVIDER_UNREACHABLE: "the provider could not be reached; nothing had left us",
    Reason.SENDER_PAUSED: "the provider blocks the sender for now",
    Reason.NOT_ON_CHANNEL: "the number does not use this channel",
    Reason.TEMPLATE_REFUSED: "the provider refused the template",
    Reason.MARKETING_LIMIT: "the provider limits marketing to this person",
    Reason.REFUSED: "the provider refused it",
    Reason.UNDELIVERED: "the provider could not deliver it",
    Reason.GAVE_UP: "every attempt failed before anything left us",
    Reason.POISONED: "workers died on it again and again",
    Reason.NO_ANSWER: "the provider's answer was lost, so nobody knows whether it went out",
    Reason.WORKER_LOST: "the worker died while handing it over, so nobody knows whether it went out",
    Reason.NO_PROOF: "no proof of sending came within the waiting time; the credit is back",
}

_STATES: Mapping[State, str] = {
    State.QUEUED: "It is waiting to be sent",
    State.SENDING: "It is being handed to the provider right now",
    State.ACCEPTED: "The provider accepted it; no receipt came yet",
    State.SENT: "The provider sent it on; delivery is not confirmed yet",
    State.DELIVERED: "It was delivered",
    State.READ: "It was delivered and read",
    State.FAILED: "It failed",
    State.SKIPPED: "It was not sent",
    State.CANCELLED: "It was not sent",
    State.UNKNOWN: "It may have been sent",
    State.UNCONFIRMED: "It may have been sent, but it is counted as not sent",
}


def explain(message: Message, decision: Decision | None = None, *, timezone: str = "UTC") -> list[str]:
    """Sentences about one row: where it is, why, what happened when, what it cost, and what the gate says now.

    Times in the tenant's zone; no phone and no text.
    """
    lines = [_standing(message)]
    if message.state is State.QUEUED and message.next_at is not None:
        lines.append(f"It will be tried again at {_at(message.next_at, timezone)}.")
    if message.provider_code is not None:
        lines.append(f"The provider's own code was {message.provider_code}.")
    if message.attempt:
        lines.append(f"It was handed to the provider {'once' if message.attempt == 1 else f'{message.attempt} times'}.")
    steps = (
        ("queued", message.queued_at),
        ("handed over", message.sending_at),
        ("accepted", message.accepted_at),
        ("sent", message.sent_at),
        ("failed", message.failed_at),
        ("delivered", message.delivered_at),
        ("read", message.read_at),
    )
    lines.append("Times: " + ", ".join(f"{word} {_at(at, timezone)}" for word, at in steps if at is not None) + ".")
    lines.append("It costs one credit." if message.credits else "It costs nothing: its credit is back.")
    if message.state is State.UNKNOWN:
        lines.append("It will never be sent a second time; a receipt settles it, or the waiting time ends.")
    if decision is not None:
        lines.append(_now(decision, timezone))
    return lines


def _standing(message: Message) -> str:
    said = _STATES[message.state]
    if message.reason is None or message.reason is Reason.CLEARED:
        return f"{said}."
    return f"{said}: {WORDS[message.reason]} ({message.reason.value})."


def _now(decision: Decision, timezone: str) -> str:
    match decision:
        case Send():
            return "The gate would send it now."
        case Hold(until=None, reason=reason):
            return f"The gate would hold it until somebody resumes it: {WORDS[reason]}."
        case Hold(until=until, reason=reason):
            assert until is not None
            return f"The gate would hold it until {_at(until, timezone)}: {WORDS[reason]}."
        case Skip(reason=reason):
            return f"The gate would skip it: {WORDS[reason]}."


def _at(moment: datetime, timezone: str) -> str:
    return moment.astimezone(ZoneInfo(timezone)).strftime("%Y-%m-%d %H:%M:%S %Z")
