"""Rounds: how a campaign becomes a run, by hand or by its timer, and what follows when the run has drained.

Everything here acts inside a unit of work that somebody else opened and commits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import attrs

from callboard.campaigns import rules
from callboard.campaigns.messages import CampaignFailed, CampaignFinished, CampaignMissed, CampaignStarted
from callboard.campaigns.model import Audience, Campaign, CampaignStatus, Enqueued, InSegment
from callboard.campaigns.ports import Work
from callboard.clock import Clock, local_date
from callboard.credits.rules import debited
from callboard.delivery.ports import DueTimer
from callboard.errors import CoreError, InsufficientCredits, InvalidInput, InvalidStatus, NoRecipients
from callboard.events import StoredEvent
from callboard.ids import CampaignId, Ids, RunId
from callboard.links.model import Link
from callboard.links.rules import TOKEN_BYTES, check_destination, extract_urls, shorten_urls
from callboard.messages.messages import RunDrained, RunOpened
from callboard.messages.model import Content, Purpose, Run, RunState
from callboard.messages.templates import DISCOUNT, SHOP_NAME, compile_text
from callboard.segments.model import Criteria
from callboard.tenants.settings import policy, value_of

START_TIMER = "campaign.start"
CHUNK = 500
"""Rows per leased chunk (docs/decisions/0003)."""


@attrs.frozen(kw_only=True)
class Rounds:
    """``short_links`` and ``unsubscribe_links`` are the public addresses a token is put behind.

    ``allowed_hosts`` empty allows every host; ``production`` allows only https (contracts/README.md section 4).
    """

    clock: Clock
    ids: Ids
    short_links: str
    unsubscribe_links: str
    production: bool = False
    allowed_hosts: Collection[str] = ()
    chunk: int = CHUNK

    async def criteria(self, w: Work, audience: Audience) -> Criteria:
        """Whom the audience means in this tenant; NotFound for a segment it does not have."""
        segment = await w.segments.get(audience.segment_id) if isinstance(audience, InSegment) else None
        return rules.criteria_of(audience, segment)

    def check_links(self, text: str) -> None:
        """InvalidInput for ``message`` when a URL in it may not become a short link here."""
        for url in extract_urls(text):
            self._destination(url)

    async def start(self, w: Work, campaign: Campaign, *, now: datetime) -> Enqueued:
        """Open the campaign's next run: links, content, recipients, debit, state and events, all in this transaction.

        NoRecipients and InsufficientCredits leave it to the caller to roll back.
        """
        run = self._run(w, campaign, await self.content(w, campaign, now=now), now=now)
        criteria = await self.criteria(w, campaign.audience)
        await w.ledger.open_run(run)
        today = local_date(now, w.tenant.timezone)
        recipients = await w.ledger.freeze(run.id, criteria, today=today, now=now, chunk=self.chunk)
        sending = rules.started(campaign, now=now, timezone=w.tenant.timezone)
        await w.timers.clear(START_TIMER, campaign.id.hex)
        return await self._opened(w, campaign, sending, run, recipients, now=now)

    async def retry(self, w: Work, campaign: Campaign, *, now: datetime) -> Enqueued:
        """Open a run of the last run's failed recipients that are still eligible, with the same content."""
        last = await w.ledger.run(campaign.current_run) if campaign.current_run is not None else None
        if last is None:
            raise InvalidStatus("The campaign was never sent", status=campaign.status.value)
        run = attrs.evolve(self._run(w, campaign, last.content, now=now), retry_of=last.id)
        await w.ledger.open_run(run)
        recipients = await w.ledger.freeze_failed(run.id, of=last.id, now=now, chunk=self.chunk)
        return await self._opened(w, campaign, campaign, run, recipients, now=now)

    async def content(self, w: Work, campaign: Campaign, *, now: datetime) -> Content:
        """What all recipients of a round share, frozen; makes the short links that the text carries."""
        stored = await w.settings.all()
        known = {link.url: link.token for link in await w.links.for_campaign(campaign.id)}
        made: list[Link] = []

        def shorten(url: str) -> str:
            if url.startswith(self.short_links):
                return url
            target = self._destination(url)
            token = known.get(target)
            if token is None:
                token = known[target] = self.ids.token(TOKEN_BYTES)
                made.append(
                    Link(
                        token=token,
                        tenant_id=w.tenant.id,
                        url=target,
                        campaign_id=campaign.id,
                        created_at=now,
                    )
                )
            return self.short_links + token

        values = {SHOP_NAME: value_of(w.tenant, stored, "shopName")}
        if discount := campaign.discount_value or value_of(w.tenant, stored, "defaultDiscount"):
            values[DISCOUNT] = discount
        text = shorten_urls(written(campaign), shorten)
        if made:
            await w.links.add(*made)
        return Content(
            channel=policy(w.tenant, stored).channel,
            text=text,
            values=values,
            unsubscribe_base=self.unsubscribe_links,
            template=campaign.template,
        )

    # --- what calls from outside: timers and events ---------------------------------------------------------------

    async def fire(self, w: Work, timer: DueTimer) -> Sequence[str]:
        """A start timer is due: start the round, wait on, or record why not. Wakes the dispatchers when it started.

        What stands in the way of a round (nobody to write to, too few credits, its segment or a link gone) makes the
        campaign ``failed`` with that reason: it is looked at before anything is written, so nothing loops.
        """
        campaign = await self._of(w, timer)
        if campaign is None:
            return ()
        now = self.clock.now()
        match rules.due(campaign, now=now, timezone=w.tenant.timezone):
            case rules.Wait(until=until):
                await w.timers.set(START_TIMER, timer.key, until)
            case rules.Miss(next_at=next_at):
                await self._miss(w, campaign, next_at, now=now)
            case rules.Start():
                problem = await self._problem(w, campaign, now=now)
                if problem is None:
                    await self.start(w, campaign, now=now)
                    return ("dispatch",)
                await self._fail(w, campaign, problem, now=now)
            case rules.Ignore():
                pass
        return ()

    async def give_up(self, w: Work, timer: DueTimer) -> None:
        """The start failed again and again: the campaign says so and waits for a person."""
        campaign = await self._of(w, timer)
        if campaign is not None and campaign.status is CampaignStatus.SCHEDULED:
            await self._fail(w, campaign, "could_not_start", now=self.clock.now())

    async def on_run_drained(self, w: Work, stored: StoredEvent) -> Sequence[str]:
        """Sending → sent; a recurring campaign waits for its next round instead."""
        event = stored.event
        assert isinstance(event, RunDrained)
        campaign = await w.campaigns.get_for_update(event.campaign_id) if event.campaign_id is not None else None
        if (
            campaign is None
            or campaign.current_run != event.run_id
            or campaign.status not in (CampaignStatus.SENDING, CampaignStatus.PAUSED)
        ):
            return ()
        now = self.clock.now()
        status = CampaignStatus.SENT if campaign.next_run_at is None else CampaignStatus.SCHEDULED
        await save(w, campaign, attrs.evolve(campaign, status=status, updated_at=now))
        if campaign.next_run_at is not None:
            await w.timers.set(START_TIMER, campaign.id.hex, campaign.next_run_at)
        await w.outbox.add(CampaignFinished(campaign_id=campaign.id, run_id=event.run_id))
        return ()

    # --- steps ----------------------------------------------------------------------------------------------------

    def _run(self, w: Work, campaign: Campaign, content: Content, *, now: datetime) -> Run:
        return Run(
            id=RunId(self.ids.new()),
            tenant_id=w.tenant.id,
            campaign_id=campaign.id,
            number=campaign.rounds + 1,
            state=RunState.OPEN,
            purpose=Purpose.MARKETING,
            priority=campaign.priority,
            content=content,
            recipients=0,
            created_at=now,
        )

    async def _opened(
        self, w: Work, before: Campaign, after: Campaign, run: Run, recipients: int, *, now: datetime
    ) -> Enqueued:
        """Pay for the frozen rows and flip the state; the debit comes late because it is the row everybody shares."""
        if not recipients:
            raise NoRecipients("Nobody in this audience can be written to")
        sending = attrs.evolve(
            after,
            status=CampaignStatus.SENDING,
            status_reason=None,
            current_run=run.id,
            rounds=run.number,
            updated_at=now,
        )
        await save(w, before, sending)
        await w.outbox.add(
            RunOpened(run_id=run.id, campaign_id=before.id),
            CampaignStarted(campaign_id=before.id, run_id=run.id, recipients=recipients),
        )
        await w.credits.book(debited(run.id, recipients, now=now))
        return Enqueued(run_id=run.id, recipients=recipients, credits_debited=recipients)

    async def _of(self, w: Work, timer: DueTimer) -> Campaign | None:
        return await w.campaigns.get_for_update(CampaignId(UUID(hex=timer.key)))

    async def _problem(self, w: Work, campaign: Campaign, *, now: datetime) -> str | None:
        """Why a round cannot start, in a word."""
        try:
            self.check_links(campaign.message)
            criteria = await self.criteria(w, campaign.audience)
        except CoreError as refusal:
            return refusal.code.lower()
        wanted = await w.ledger.eligible(criteria, today=local_date(now, w.tenant.timezone))
        if not wanted:
            return NoRecipients.code.lower()
        return InsufficientCredits.code.lower() if await w.credits.balance() < wanted else None

    async def _fail(self, w: Work, campaign: Campaign, reason: str, *, now: datetime) -> None:
        failed = attrs.evolve(
            campaign, status=CampaignStatus.FAILED, status_reason=reason, next_run_at=None, updated_at=now
        )
        await save(w, campaign, failed)
        await w.outbox.add(CampaignFailed(campaign_id=campaign.id, reason=reason))

    async def _miss(self, w: Work, campaign: Campaign, next_at: datetime | None, *, now: datetime) -> None:
        """Too late to be welcome: a one-off campaign has failed, a recurring one goes on with its next round."""
        status = CampaignStatus.FAILED if next_at is None else CampaignStatus.SCHEDULED
        missed = attrs.evolve(campaign, status=status, status_reason=rules.MISSED, next_run_at=next_at, updated_at=now)
        await save(w, campaign, missed)
        if next_at is not None:
            await w.timers.set(START_TIMER, campaign.id.hex, next_at)
        await w.outbox.add(CampaignMissed(campaign_id=campaign.id))

    def _destination(self, url: str) -> str:
        try:
            return check_destination(url, production=self.production, allowed_hosts=self.allowed_hosts)
        except InvalidInput as refusal:
            raise InvalidInput(f"A link in the text: {refusal.message}", field="message") from None


def written(campaign: Campaign) -> str:
    """The text as it is sent: a discount that is to be included and has no place in the text gets a line of its own."""
    if campaign.include_discount and DISCOUNT not in compile_text(campaign.message).placeholders:
        return f"{campaign.message}\n{{{{{DISCOUNT}}}}}"
    return campaign.message


async def save(w: Work, before: Campaign, after: Campaign) -> None:
    """Compare-and-set on the status that was read."""
    if not await w.campaigns.save(after, expected=(before.status,)):
        raise InvalidStatus("The campaign changed meanwhile", status=before.status.value)
