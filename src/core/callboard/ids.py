"""Identifiers: UUIDv7 everywhere except the hot ledger, whose rows are (run, number)."""

from __future__ import annotations

import re
from typing import NewType, Protocol
from uuid import UUID

import attrs

from callboard.errors import InvalidInput

TenantId = NewType("TenantId", UUID)
KeyId = NewType("KeyId", UUID)
ContactId = NewType("ContactId", UUID)
SegmentId = NewType("SegmentId", UUID)
CampaignId = NewType("CampaignId", UUID)
RunId = NewType("RunId", UUID)
AutomationId = NewType("AutomationId", UUID)
TemplateId = NewType("TemplateId", UUID)
EventId = NewType("EventId", UUID)

_PRINTED = re.compile(r"([0-9A-Fa-f]{32})\.([0-9]{1,10})", re.ASCII)


class Ids(Protocol):
    """A source of new identifiers."""

    def new(self) -> UUID:
        """A UUIDv7: unique, roughly ordered by time."""
        ...

    def token(self, n_bytes: int = 9) -> str:
        """A URL-safe random token of at least ``n_bytes`` bytes of entropy from a CSPRNG."""
        ...


@attrs.frozen(order=True)
class MessageId:
    """One message: its run and its number in the run, from 1. Printed ``<32 hex digits>.<number>``.

    The printed form is the correlation id that travels to the provider and back.
    """

    run_id: RunId
    seq: int

    def __str__(self) -> str:
        return f"{self.run_id.hex}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> MessageId:
        """Read the printed form; :class:`InvalidInput` for anything else."""
        if not (match := _PRINTED.fullmatch(text)):
            raise InvalidInput("Not a message id", field="message_id")
        return cls(RunId(UUID(hex=match[1])), int(match[2]))
