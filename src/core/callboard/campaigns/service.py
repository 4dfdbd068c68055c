"""Campaigns as people handle them: write, schedule, send, stop, and look before."""

from __future__ import annotations

import attrs

from callboard.campaigns import rules
from callboard.campaigns.messages import CampaignCancelled, ChangeCampaign, CreateCampaign
from callboard.campaigns.model import Campaign, CampaignStatus, Enqueued, InSegment, Schedule, ScheduleType
from callboard.campaigns.ports import Work
from callboard.campaigns.rounds import START_TIMER, Rounds, save, written
from callboard.campaigns.rules import Action
from callboard.clock import Clock, local_date
from callboard.contacts.model import Consent, Contact
from callboard.credits.rules import cancelled
from callboard.errors import InvalidStatus, NotFound
from callboard.ids import CampaignId, Ids, TenantId
from callboard.links.rules import shorten_urls
from callboard.messages.messages import RunOpened
from callboard.messages.model import Run, RunState
from callboard.messages.ports import Hints, SenderState
from callboard.messages.sms_parts import Parts, count_parts
from callboard.messages.templates import DISCOUNT, FIRST_NAME, LAST_NAME, SHOP_NAME, UNSUBSCRIBE_URL, compile_text
from callboard.segments.model import AllOf, ConsentIs
from callboard.tenants.settings import value_of
from callboard.work import OpenWork

_SAMPLE_TOKEN = "x" * 12
_SAMPLE_UNSUBSCRIBE = "x" * 32


@attrs.frozen(kw_only=True)
class Preview:
    """What an enqueue would do now: ``recipients`` rows for as many ``credits``; ``text`` is rendered for one of them.

    ``unknown`` are placeholders that stand for nothing and will vanish.
    """

    recipients: int
    credits: int
    balance: int
    text: str
    parts: Parts
    placeholders: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def affordable(self) -> bool:
        """Whether the balance covers it."""
        return self.balance >= self.credits


@attrs.frozen(kw_only=True)
class Cancelled:
    """The campaign after a cancel, and how many messages (and credits) it took out."""

    campaign: Campaign
    messages: int


@attrs.frozen(kw_only=True)
class CampaignService:
    """Every change locks the campaign first, so two of them wait for each other."""

    work: OpenWork[Work]
    clock: Clock
    ids: Ids
    hints: Hints
    rounds: Rounds

    async def get(self, tenant: TenantId, campaign: CampaignId) -> Campaign:
        """NotFound when this tenant has none such."""
        async with self.work(tenant) as w:
            return _found(await w.campaigns.get(campaign))

    async def runs(self, tenant: TenantId, campaign: CampaignId) -> list[Run]:
        """Its rounds, by number."""
        async with self.work(tenant) as w:
            _found(await w.campaigns.get(campaign))
            return await w.ledger.runs(campaign)

    async def held_by(self, tenant: TenantId, campaign: CampaignId) -> SenderState | None:
        """Why a sending campaign does not move, if it is its sender: paused by the provider or not configured."""
        async with self.work(tenant) as w:
            found = _found(await w.campaigns.get(campaign))
            run = await w.ledger.run(found.current_run) if found.current_run is not None else None
            if found.status is not CampaignStatus.SENDING or run is None:
                return None
            sender = await w.senders.state(run.content.channel)
        held = sender.paused_until is not None and sender.paused_until > self.clock.now()
        return sender if held else None

    async def create(self, tenant: TenantId, command: CreateCampaign) -> Campaign:
        """A draft, or scheduled at once. AlreadyExists for the name, NotFound for the segment, InvalidInput."""
        campaign = rules.create(command, campaign_id=CampaignId(self.ids.new()), now=self.clock.now())
        async with self.work(tenant) as w:
            await self._check(w, campaign)
            await w.campaigns.add(campaign)
            await self._set_timer(w, campaign)
        return campaign

    async def update(self, tenant: TenantId, campaign: CampaignId, command: ChangeCampaign) -> Campaign:
        """Change a campaign that has not begun (draft, scheduled or failed)."""
        async with self.work(tenant) as w:
            before = _found(await w.campaigns.get_for_update(campaign))
            after = rules.change(before, command, now=self.clock.now())
            await self._check(w, after)
            await save(w, before, after)
            await self._set_timer(w, after)
        return after

    async def schedule(self, tenant: TenantId, campaign: CampaignId, schedule: Schedule) -> Campaign:
        """Set when it starts; an immediate schedule makes it a draft again."""
        async with self.work(tenant) as w:
            before = _found(await w.campaigns.get_for_update(campaign))
            after = rules.planned(before, schedule, now=self.clock.now())
            await save(w, before, after)
            await self._set_timer(w, after)
        return after

    async def delete(self, tenant: TenantId, campaign: CampaignId) -> None:
        """InvalidStatus for one that is sending, paused or sent."""
        async with self.work(tenant) as w:
            rules.require(_found(await w.campaigns.get_for_update(campaign)), Action.DELETE)
            await w.timers.clear(START_TIMER, campaign.hex)
            await w.campaigns.remove(campaign)

    async def enqueue(self, tenant: TenantId, campaign: CampaignId) -> Enqueued:
        """Start a round now, in one transaction: state, links, recipients, debit and work, or nothing at all.

        AlreadySending, InvalidStatus, NoRecipients, InsufficientCredits; the answer is what was committed.
        """
        async with self.work(tenant) as w:
            found = _found(await w.campaigns.get_for_update(campaign))
            rules.require(found, Action.ENQUEUE)
            enqueued = await self.rounds.start(w, found, now=self.clock.now())
        await self.hints.wake("dispatch")
        return enqueued

    async def retry_failed(self, tenant: TenantId, campaign: CampaignId) -> Enqueued:
        """A new round for the failed recipients of the last one, through the same pipeline and paid for again."""
        async with self.work(tenant) as w:
            found = _found(await w.campaigns.get_for_update(campaign))
            rules.require(found, Action.RETRY)
            await w.timers.clear(START_TIMER, campaign.hex)  # a recurring one's next round waits for this one
            enqueued = await self.rounds.retry(w, found, now=self.clock.now())
        await self.hints.wake("dispatch")
        return enqueued

    async def pause(self, tenant: TenantId, campaign: CampaignId) -> Campaign:
        """Nothing new is handed over; at most the wave in flight of each dispatcher still goes out."""
        async with self.work(tenant) as w:
            before = _found(await w.campaigns.get_for_update(campaign))
            rules.require(before, Action.PAUSE)
            return await self._switch(w, before, RunState.OPEN, RunState.PAUSED, CampaignStatus.PAUSED)

    async def resume(self, tenant: TenantId, campaign: CampaignId) -> Campaign:
        """Go on where it was paused."""
        async with self.work(tenant) as w:
            before = _found(await w.campaigns.get_for_update(campaign))
            rules.require(before, Action.RESUME)
            after = await self._switch(w, before, RunState.PAUSED, RunState.OPEN, CampaignStatus.SENDING)
            if after.current_run is not None:
                await w.outbox.add(RunOpened(run_id=after.current_run, campaign_id=after.id))
        await self.hints.wake("dispatch")
        return after

    async def cancel(self, tenant: TenantId, campaign: CampaignId) -> Cancelled:
        """Stop everything not yet handed to the provider and refund exactly that, in one transaction.

        InvalidStatus when there is nothing to stop: drafts and everything scheduled or unfinished can be cancelled.
        """
        async with self.work(tenant) as w:
            now = self.clock.now()
            before = _found(await w.campaigns.get_for_update(campaign))
            rules.require(before, Action.CANCEL)
            after = attrs.evolve(before, status=CampaignStatus.CANCELLED, next_run_at=None, updated_at=now)
            await save(w, before, after)
            await w.timers.clear(START_TIMER, campaign.hex)
            messages = await self._withdraw(w, before)
            await w.outbox.add(CampaignCancelled(campaign_id=campaign, cancelled=messages))
            if messages and before.current_run is not None:
                await w.credits.book(cancelled(before.current_run, messages, now=now))
        return Cancelled(campaign=after, messages=messages)

    async def preview(self, tenant: TenantId, campaign: CampaignId) -> Preview:
        """What enqueuing it now would do; writes nothing."""
        async with self.work(tenant) as w:
            return await self._preview(w, _found(await w.campaigns.get(campaign)))

    async def preview_draft(self, tenant: TenantId, command: CreateCampaign) -> Preview:
        """The same for a campaign that nobody has saved."""
        campaign = rules.create(command, campaign_id=CampaignId(self.ids.new()), now=self.clock.now())
        async with self.work(tenant) as w:
            return await self._preview(w, campaign)

    # --- steps ----------------------------------------------------------------------------------------------------

    async def _check(self, w: Work, campaign: Campaign) -> None:
        """What only the store and the configuration can tell: the segment is ours, the links are allowed."""
        self.rounds.check_links(campaign.message)
        if isinstance(campaign.audience, InSegment):
            await self.rounds.criteria(w, campaign.audience)

    async def _set_timer(self, w: Work, campaign: Campaign) -> None:
        if campaign.status is CampaignStatus.SCHEDULED and campaign.next_run_at is not None:
            await w.timers.set(START_TIMER, campaign.id.hex, campaign.next_run_at)
        else:
            await w.timers.clear(START_TIMER, campaign.id.hex)

    async def _switch(
        self, w: Work, before: Campaign, from_: RunState, to: RunState, status: CampaignStatus
    ) -> Campaign:
        """Move run and campaign together."""
        now = self.clock.now()
        run = before.current_run
        if run is None or not await w.ledger.move_run(run, to=to, expected=(from_,), now=now):
            raise InvalidStatus("Nothing is left to send", status=before.status.value)
        after = attrs.evolve(before, status=status, updated_at=now)
        await save(w, before, after)
        return after

    async def _withdraw(self, w: Work, campaign: Campaign) -> int:
        """Close the current run to new sends and take its queued rows out; returns how many."""
        running = campaign.status in (CampaignStatus.SENDING, CampaignStatus.PAUSED)
        if not running or campaign.current_run is None:
            return 0
        now, stoppable = self.clock.now(), (RunState.OPEN, RunState.PAUSED)
        if await w.ledger.move_run(campaign.current_run, to=RunState.CANCELLED, expected=stoppable, now=now):
            return await w.ledger.cancel_queued(campaign.current_run, now=now)
        if campaign.schedule.type is not ScheduleType.RECURRING:
            raise InvalidStatus("Everything was handed over already", status=campaign.status.value)
        return 0

    async def _preview(self, w: Work, campaign: Campaign) -> Preview:
        criteria = await self.rounds.criteria(w, campaign.audience)
        today = local_date(self.clock.now(), w.tenant.timezone)
        recipients = await w.ledger.eligible(criteria, today=today)
        willing = AllOf(parts=(criteria, ConsentIs(consent=Consent.OPTED_IN)))
        sample = await w.audiences.sample(willing, today=today, limit=1)
        stored = await w.settings.all()
        values = {
            SHOP_NAME: value_of(w.tenant, stored, "shopName"),
            DISCOUNT: campaign.discount_value or value_of(w.tenant, stored, "defaultDiscount"),
            UNSUBSCRIBE_URL: f"{self.rounds.unsubscribe_links.rstrip('/')}/{_SAMPLE_UNSUBSCRIBE}",
        }
        short = self.rounds.short_links
        text = shorten_urls(written(campaign), lambda url: url if url.startswith(short) else short + _SAMPLE_TOKEN)
        template = compile_text(text, marketing=True)
        rendered = template.render(values | _names(sample[0]) if sample else values)
        return Preview(
            recipients=recipients,
            credits=recipients,
            balance=await w.credits.balance(),
            text=rendered,
            parts=count_parts(rendered),
            placeholders=template.placeholders,
            unknown=template.unknown,
        )


def _names(contact: Contact) -> dict[str, str]:
    return {FIRST_NAME: contact.first_name or "", LAST_NAME: contact.last_name or ""}


def _found(campaign: Campaign | None) -> Campaign:
    if campaign is None:
        raise NotFound("Campaign not found")
    return campaign
