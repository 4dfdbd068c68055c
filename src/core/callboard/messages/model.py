"""What the ledger knows: runs, their chunks and one row per recipient; reliability.md section 2."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import attrs

from callboard.contacts.model import Consent
from callboard.ids import CampaignId, ContactId, MessageId, RunId, TenantId
from callboard.tenants.model import Channel


class State(StrEnum):
    """Where a message is. ``claimed`` is not a row state here: the chunk's lease is the claim (decision 0003)."""

    QUEUED = "queued"
    SENDING = "sending"
    ACCEPTED = "accepted"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    UNCONFIRMED = "unconfirmed"


OPEN = frozenset({State.QUEUED, State.SENDING})
"""States in which a run still has something to attempt."""

HANDED_OVER = frozenset({State.ACCEPTED, State.SENT, State.DELIVERED, State.READ})


class Reason(StrEnum):
    """Why a message was sent, held, skipped, failed or left unknown: one word per row, stored with it."""

    # sent
    CLEARED = "cleared"
    # skipped or held by the gate
    CONSENT_MISSING = "consent_missing"
    OPTED_OUT = "opted_out"
    SUPPRESSED = "suppressed"
    INVALID_NUMBER = "invalid_number"
    CONTACT_DELETED = "contact_deleted"
    DUPLICATE = "duplicate"
    CAMPAIGN_CANCELLED = "campaign_cancelled"
    CAMPAIGN_PAUSED = "campaign_paused"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    QUIET_HOURS = "quiet_hours"
    FREQUENCY_CAP = "frequency_cap"
    MISSING_VARIABLE = "missing_variable"
    EXPIRED = "expired"
    # waiting to be tried again
    PROVIDER_BUSY = "provider_busy"
    PROVIDER_UNREACHABLE = "provider_unreachable"
    SENDER_PAUSED = "sender_paused"
    # failed
    NOT_ON_CHANNEL = "not_on_channel"
    TEMPLATE_REFUSED = "template_refused"
    MARKETING_LIMIT = "marketing_limit"
    REFUSED = "refused"
    UNDELIVERED = "undelivered"
    GAVE_UP = "gave_up"
    POISONED = "poisoned"
    # nobody knows (yet)
    NO_ANSWER = "no_answer"
    WORKER_LOST = "worker_lost"
    NO_PROOF = "no_proof"


class Priority(StrEnum):
    """Whose messages go first."""

    URGENT = "urgent"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 goes first."""
        return ("urgent", "high", "normal", "low").index(self.value)


class Purpose(StrEnum):
    """Marketing needs consent and listens to opt-outs; transactional messages do neither."""

    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"


@attrs.frozen(kw_only=True)
class WhatsAppTemplate:
    """A template by name and language. ``body`` holds our placeholders in the order of ``{{1}}``, ``{{2}}``, etc."""

    name: str
    language: str
    body: tuple[str, ...] = ()
    button_suffix: str | None = None
    header_image: str | None = None


@attrs.frozen(kw_only=True)
class Content:
    """Everything about the text that is the same for all recipients of a run, frozen at enqueue.

    ``text`` still holds placeholders; its URLs are short links already. ``values`` are run-wide variables
    (``discount``, ``shopName``). ``unsubscribe_base`` is None for transactional messages.
    """

    channel: Channel
    text: str
    values: Mapping[str, str]
    unsubscribe_base: str | None
    template: WhatsAppTemplate | None = None


class RunState(StrEnum):
    """A run is open while it has something to attempt and nobody stopped it."""

    OPEN = "open"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"


@attrs.frozen(kw_only=True)
class Run:
    """One sending round: its recipients are frozen, its rows are the ledger. A campaign's rounds count from 1."""

    id: RunId
    tenant_id: TenantId
    campaign_id: CampaignId | None
    number: int
    state: RunState
    purpose: Purpose
    priority: Priority
    content: Content
    recipients: int
    created_at: datetime
    finished_at: datetime | None = None
    retry_of: RunId | None = None


@attrs.frozen(kw_only=True)
class Chunk:
    """A leased slice ``first..last`` of a run. ``claim`` fences: it grows by one with every claim of this chunk."""

    run_id: RunId
    tenant_id: TenantId
    number: int
    first: int
    last: int
    claim: int


@attrs.frozen(kw_only=True)
class Candidate:
    """A queued row with what its contact says *now*; what the gate decides on.

    ``consent`` is None when the contact is gone. ``recent`` counts marketing messages to the phone inside the cap's
    window and ``oldest_recent`` is the first of them (both only filled when the tenant has a frequency cap).
    """

    seq: int
    contact_id: ContactId | None
    phone: str
    first_name: str | None
    last_name: str | None
    attempt: int
    queued_at: datetime
    consent: Consent | None
    suppressed: bool
    recent: int = 0
    oldest_recent: datetime | None = None


@attrs.frozen(kw_only=True)
class Message:
    """One ledger row, for reading and explaining. ``provider_code`` is the provider's own word for a refusal."""

    id: MessageId
    campaign_id: CampaignId | None
    contact_id: ContactId | None
    phone: str
    channel: Channel
    state: State
    reason: Reason | None
    provider_code: str | None
    provider_message_id: str | None
    attempt: int
    credits: int
    next_at: datetime | None
    queued_at: datetime
    sending_at: datetime | None
    accepted_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    failed_at: datetime | None


@attrs.frozen(kw_only=True)
class Change:
    """What happens to one row of a leased chunk. Applied only if the row still is ``queued`` (marks) or still carries
    ``attempt`` (results): otherwise it is dropped.

    ``refund`` gives the row's credit back in the same transaction, once. ``burnt`` False (only with ``queued``, only in
    ``settle``) takes one off the row's attempt again: a 429 or a blocked sender is not the message's fault.
    """

    seq: int
    attempt: int
    state: State
    reason: Reason
    next_at: datetime | None = None
    provider_message_id: str | None = None
    provider_code: str | None = None
    refund: bool = False
    burnt: bool = True


@attrs.frozen(kw_only=True)
class Tally:
    """Counts of one run by state; ``sum == recipients``. ``by_reason`` covers rows that were not plainly delivered."""

    by_state: Mapping[State, int]
    by_reason: Mapping[str, int]

    def __getitem__(self, state: State) -> int:
        return self.by_state.get(state, 0)

    @property
    def recipients(self) -> int:
        """All rows."""
        return sum(self.by_state.values())

    @property
    def accepted(self) -> int:
        """Accepted by the provider, whatever came after: failures reported later (``undelivered``) count too."""
        return sum(self[s] for s in HANDED_OVER) + self.by_reason.get(Reason.UNDELIVERED, 0)


class Fact(StrEnum):
    """What a provider reports of a message it has accepted."""

    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"


@attrs.frozen(kw_only=True)
class Receipt:
    """One fact from a provider. Found by ``message_id`` when the provider echoes ours, else by its own id.

    ``reason`` and ``provider_code`` only for FAILED; the reason is UNDELIVERED, which only rows have that failed after
    acceptance, and the code says what the provider meant. ``tenants`` are those whose signature vouches for it: a
    message of any other tenant is not found by it (None: no limit).
    """

    provider: str
    provider_message_id: str
    message_id: MessageId | None
    fact: Fact
    at: datetime
    reason: Reason | None = None
    provider_code: str | None = None
    opted_out: bool = False
    tenants: frozenset[TenantId] | None = None

    @property
    def key(self) -> str:
        """The provider's own identity of this fact: what duplicates share."""
        return f"{self.provider_message_id}:{self.fact}"
