"""Rows of ``runs`` and ``messages`` as the core's objects."""

from __future__ import annotations

from cattrs.preconf.json import make_converter
from sqlalchemy import RowMapping

from callboard.ids import CampaignId, ContactId, MessageId, RunId, TenantId
from callboard.messages.model import Content, Message, Priority, Purpose, Reason, Run, RunState, State
from callboard.tenants.model import Channel

_json = make_converter(omit_if_default=True)


def dump_content(content: Content) -> str:
    """The stored form of a run's content."""
    return _json.dumps(content)


def load_content(stored: str) -> Content:
    """What :func:`dump_content` wrote."""
    return _json.loads(stored, Content)


def run_values(run: Run) -> dict[str, object]:
    """The columns of a run, without its tenant."""
    return {
        "id": run.id,
        "campaign_id": run.campaign_id,
        "number": run.number,
        "state": run.state.value,
        "purpose": run.purpose.value,
        "priority": run.priority.value,
        "content": dump_content(run.content),
        "recipients": run.recipients,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
        "retry_of": run.retry_of,
    }


def to_run(row: RowMapping) -> Run:
    """A stored run."""
    return Run(
        id=RunId(row["id"]),
        tenant_id=TenantId(row["tenant_id"]),
        campaign_id=None if row["campaign_id"] is None else CampaignId(row["campaign_id"]),
        number=row["number"],
        state=RunState(row["state"]),
        purpose=Purpose(row["purpose"]),
        priority=Priority(row["priority"]),
        content=load_content(row["content"]),
        recipients=row["recipients"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        retry_of=None if row["retry_of"] is None else RunId(row["retry_of"]),
    )


def to_message(row: RowMapping, *, campaign: CampaignId | None, channel: Channel) -> Message:
    """A stored message with its ``queued_at``."""
    return Message(
        id=MessageId(RunId(row["run_id"]), row["seq"]),
        campaign_id=campaign,
        contact_id=None if row["contact_id"] is None else ContactId(row["contact_id"]),
        phone=row["phone"],
        channel=channel,
        state=State(row["state"]),
        reason=None if row["reason"] is None else Reason(row["reason"]),
        provider_code=row["provider_code"],
        provider_message_id=row["provider_message_id"],
        attempt=row["attempt"],
        credits=row["credits"],
        next_at=row["next_at"],
        queued_at=row["queued_at"],
        sending_at=row["sending_at"],
        accepted_at=row["accepted_at"],
        sent_at=row["sent_at"],
        delivered_at=row["delivered_at"],
        read_at=row["read_at"],
        failed_at=row["failed_at"],
    )
