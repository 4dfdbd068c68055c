"""Why a message was or was not sent, and the shelf of what used up its attempts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import click

from callboard.campaigns.model import Campaign
from callboard.clock import local_date
from callboard.contacts.model import Consent, Contact
from callboard.errors import InvalidInput
from callboard.ids import CampaignId, ContactId, MessageId, RunId
from callboard.messages.explain import WORDS, explain
from callboard.messages.model import Message, Reason, State
from callboard.segments.model import AllOf, CreatedBetween
from callboard.values import parse_phone
from callboard_app.cli.common import command, emit, json_option, opened, refuse, tenant_option

if TYPE_CHECKING:
    from callboard_app.bootstrap import Container

_TIMES: Final = ("queued_at", "next_at", "sending_at", "accepted_at", "sent_at", "delivered_at", "read_at", "failed_at")


@click.command()
@click.argument("subject", metavar="MESSAGE | CONTACT")
@click.argument("campaign", required=False)
@tenant_option
@json_option
@command
async def why(subject: str, campaign: str | None, slug: str, as_json: bool) -> None:
    """Say what became of a message, and why.

    MESSAGE is an id such as 0198….17. Or name a CONTACT (id or phone) and a CAMPAIGN (id or name).
    """
    async with opened(slug) as (container, tenant), container.store.work(tenant.id) as w:
        if campaign is None:
            message = await w.ledger.message(_message_id(subject))
            if message is None:
                refuse("No such message", code="NOT_FOUND", advice="Messages are named RUN.NUMBER.")
            found = None if message.campaign_id is None else await w.campaigns.get(message.campaign_id)
            held = await _held(container, w, message)
            _tell(_explained(message, found, tenant.timezone, held), as_json=as_json)
            return
        target = await _campaign(w, campaign)
        contact = await _contact(w, subject, tenant.region)
        rows = [
            row for run in await w.ledger.runs(target.id) for row in await w.ledger.messages(run.id, contact=contact.id)
        ]
        if rows:
            held = await _held(container, w, rows[-1])
            _tell(_explained(rows[-1], target, tenant.timezone, held), as_json=as_json)
            return
        reason, text = await _absence(container, w, contact, target)
        _tell(
            {
                "message": None,
                "contact": str(contact.id),
                "campaign": str(target.id),
                "campaign_name": target.name,
                "state": None,
                "reason": reason,
                "explanation": [text],
            },
            as_json=as_json,
        )


async def _held(container: Container, w: Any, message: Message) -> list[str]:
    """What keeps a waiting message's sender from sending, if something does."""
    sender = await w.senders.state(message.channel)
    waits = message.state is State.QUEUED and sender.paused_until is not None
    if not waits or sender.paused_until <= container.clock.now():
        return []
    return [f"Its sender is held: {sender.reason}."]


def _explained(message: Message, campaign: Campaign | None, timezone: str, held: list[str]) -> dict[str, object]:
    return {
        "message": str(message.id),
        "contact": None if message.contact_id is None else str(message.contact_id),
        "campaign": None if message.campaign_id is None else str(message.campaign_id),
        "campaign_name": None if campaign is None else campaign.name,
        "channel": message.channel.value,
        "state": message.state.value,
        "reason": None if message.reason is None else message.reason.value,
        "explanation": [*explain(message, timezone=timezone), *held],
        "provider_code": message.provider_code,
        "provider_message_id": message.provider_message_id,
        "attempt": message.attempt,
        "credits": message.credits,
        "times": {name: at.isoformat() for name in _TIMES if (at := getattr(message, name)) is not None},
    }


async def _absence(container: Container, w: Any, contact: Contact, campaign: Campaign) -> tuple[str, str]:
    """Why a contact has no row in any round of the campaign: what the freeze would say of it now."""
    if not await w.ledger.runs(campaign.id):
        return "not_started", "The campaign has not started: nobody has a message yet."
    if contact.phone is None:
        return "no_phone", "No message was made: the contact has no phone."
    if contact.consent is not Consent.OPTED_IN:
        reason = Reason.OPTED_OUT if contact.consent is Consent.OPTED_OUT else Reason.CONSENT_MISSING
        return reason.value, f"No message was made: {WORDS[reason]}."
    if await w.contacts.suppressed([contact.phone.e164]):
        return Reason.SUPPRESSED.value, f"No message was made: {WORDS[Reason.SUPPRESSED]}."
    # The set-based interpreter itself answers, narrowed to those made in the same microsecond (one import batch).
    born = CreatedBetween(after=contact.created_at, before=contact.created_at + timedelta(microseconds=1))
    criteria = AllOf(parts=(await container.campaigns.rounds.criteria(w, campaign.audience), born))
    today = local_date(container.clock.now(), w.tenant.timezone)
    peers = await w.audiences.sample(criteria, today=today, limit=100_000)
    if all(peer.id != contact.id for peer in peers):
        return "not_in_audience", "No message was made: the contact is not in the campaign's audience."
    return "joined_later", "No message was made: the contact came into the audience after the recipients were frozen."


def _tell(value: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(value)
        return
    first, *rest = value["explanation"]
    click.secho(first, bold=True)
    for line in rest:
        click.echo(line)
    for name in ("message", "contact", "campaign_name", "provider_message_id"):
        if value.get(name):
            click.echo(f"  {name.replace('_', ' '):<20} {value[name]}")


def _message_id(text: str) -> MessageId:
    try:
        return MessageId.parse(text)
    except InvalidInput:
        refuse(
            "Not a message id",
            code="VALIDATION_ERROR",
            advice="A message id looks like 0198….17; or name a contact AND a campaign.",
        )


async def _campaign(w: Any, text: str) -> Campaign:
    found: Campaign | None = None
    try:
        found = await w.campaigns.get(CampaignId(UUID(text)))
    except ValueError:
        found = await w.campaigns.by_name(text)
    if found is None:
        refuse(f"No campaign {text!r}", code="NOT_FOUND", advice="See: callboard campaign list")
    return found


async def _contact(w: Any, text: str, region: str) -> Contact:
    found: Contact | None = None
    try:
        found = await w.contacts.get(ContactId(UUID(text)))
    except ValueError:
        found = await w.contacts.by_phone(parse_phone(text, region).e164)
    if found is None:
        refuse("No such contact", code="NOT_FOUND", advice="Name it by its id or its phone.")
    return found


@click.group()
def dead() -> None:
    """What used up its attempts: visible until somebody replays it."""


@dead.command("list")
@json_option
@command
async def dead_list(as_json: bool) -> None:
    """List dead deliveries and chunks."""
    async with opened(None) as (container, _), container.store.system() as s:
        deliveries = await s.deliveries.dead(limit=100)
        chunks = await s.queue.dead(limit=100)
    items = [
        {
            "id": str(d.id),
            "kind": "delivery",
            "what": f"{d.event_type} → {d.subscriber}",
            "attempts": d.attempts,
            "error": d.error,
            "at": d.at.isoformat(),
        }
        for d in deliveries
    ] + [
        {
            "id": f"{c.run_id.hex}/{c.number}",
            "kind": "chunk",
            "what": f"messages {c.first}-{c.last} of run {c.run_id.hex}",
            "attempts": c.claim,
            "error": "workers died on it",
            "at": None,
        }
        for c in chunks
    ]
    if as_json:
        emit({"items": items, "total": len(items)})
        return
    for item in items:
        click.echo(f"{item['id']}  {item['what']}  after {item['attempts']} attempts: {item['error']}")
    click.echo("Nothing is dead." if not items else "Put one back: callboard dead replay ID")


@dead.command("replay")
@click.argument("identity", metavar="ID")
@json_option
@command
async def dead_replay(identity: str, as_json: bool) -> None:
    """Put a dead delivery (id) or chunk (run/number) back to work."""
    async with opened(None) as (container, _), container.store.system() as s:
        run, slash, number = identity.partition("/")
        try:
            done = (
                await s.queue.revive(RunId(UUID(hex=run)), int(number))
                if slash
                else await s.deliveries.replay(UUID(identity))
            )
        except ValueError:
            done = False
    if not done:
        refuse("Nothing dead has this id", code="NOT_FOUND", advice="See: callboard dead list")
    if as_json:
        emit({"id": identity, "replayed": True})
    else:
        click.echo("Back to work.")
