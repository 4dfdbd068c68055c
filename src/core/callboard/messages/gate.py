"""The gate: the one decision about one message, with one reason, for everything that sends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import attrs

from callboard.clock import at_local_time
from callboard.contacts.model import Consent
from callboard.messages.model import Candidate, Purpose, Reason, RunState
from callboard.tenants.model import MessagingPolicy, QuietHours

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


@attrs.frozen(kw_only=True)
class Send:
    """Hand it over now."""

    reason: Reason = Reason.CLEARED


@attrs.frozen(kw_only=True)
class Hold:
    """Not now. ``until`` is when to ask again (UTC); None means when somebody resumes the run."""

    until: datetime | None
    reason: Reason


@attrs.frozen(kw_only=True)
class Skip:
    """Never; the credit comes back."""

    reason: Reason


Decision = Send | Hold | Skip


def decide(
    candidate: Candidate,
    *,
    run_state: RunState,
    purpose: Purpose,
    policy: MessagingPolicy,
    missing: Sequence[str],
    now: datetime,
    duplicate: bool = False,
    funded: bool = True,
    expires_at: datetime | None = None,
) -> Decision:
    """Send, hold or skip one message; the first line that applies gives the reason.

    ``missing`` are template variables without value or fallback that the channel needs; ``duplicate`` says that the
    phone was written to in this run already, ``funded`` that a credit stands behind the row. What can never be sent
    comes before what must only wait; consent, opt-out, quiet hours and the cap concern marketing only.
    """
    marketing = purpose is Purpose.MARKETING
    if run_state in (RunState.CANCELLED, RunState.DONE):
        return Skip(reason=Reason.CAMPAIGN_CANCELLED)
    if expires_at is not None and now >= expires_at:
        return Skip(reason=Reason.EXPIRED)
    if marketing and (refusal := _refusal(candidate)) is not None:
        return Skip(reason=refusal)
    if not _E164.fullmatch(candidate.phone):
        return Skip(reason=Reason.INVALID_NUMBER)
    if duplicate:
        return Skip(reason=Reason.DUPLICATE)
    if missing:
        return Skip(reason=Reason.MISSING_VARIABLE)
    if not funded:
        return Skip(reason=Reason.INSUFFICIENT_CREDITS)
    if run_state is RunState.PAUSED:
        return Hold(until=None, reason=Reason.CAMPAIGN_PAUSED)
    if marketing and (quiet := quiet_until(now, policy.quiet_hours, policy.timezone)) is not None:
        return Hold(until=quiet, reason=Reason.QUIET_HOURS)
    if marketing and policy.frequency_cap is not None and candidate.recent >= policy.frequency_cap.limit:
        free = (candidate.oldest_recent or now) + policy.frequency_cap.window
        return Hold(until=max(free, now + timedelta(seconds=1)), reason=Reason.FREQUENCY_CAP)
    return Send()


def _refusal(candidate: Candidate) -> Reason | None:
    """What the person or the tenant's records say against marketing."""
    if candidate.consent is None:
        return Reason.CONTACT_DELETED
    if candidate.consent is Consent.OPTED_OUT:
        return Reason.OPTED_OUT
    if candidate.suppressed:
        return Reason.SUPPRESSED
    return None if candidate.consent is Consent.OPTED_IN else Reason.CONSENT_MISSING


def quiet_until(now: datetime, quiet: QuietHours | None, timezone: str) -> datetime | None:
    """When the quiet hours around ``now`` end (UTC), or None outside them.

    Wall-clock time of the tenant's zone decides; ``start > end`` runs over midnight, ``start == end`` is never. An
    end that does not exist that day (clocks forward) is the first moment after the gap. On the day an hour happens
    twice, the hours are quiet in both passes and the end is the first one still ahead.
    """
    if quiet is None or quiet.start == quiet.end:
        return None
    zone = ZoneInfo(timezone)
    local = now.astimezone(zone).replace(tzinfo=None)
    over_midnight = quiet.start > quiet.end
    if over_midnight:
        inside = local.time() >= quiet.start or local.time() < quiet.end
    else:
        inside = quiet.start <= local.time() < quiet.end
    if not inside:
        return None
    day = local.date() + timedelta(days=1) if over_midnight and local.time() >= quiet.start else local.date()
    wall = datetime.combine(day, quiet.end)
    end = at_local_time(wall, timezone)
    return end if end > now else wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
