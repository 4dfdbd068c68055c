"""Campaigns on the memory store: what people do, what timers do, and that the figures are one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.messages.shop import SHORT, UNSUBSCRIBE, Shop, hex_id

from callboard.campaigns.messages import ChangeCampaign, CreateCampaign
from callboard.campaigns.model import CampaignStatus, Everybody, InSegment, OfGender, Schedule, ScheduleType
from callboard.contacts.model import Consent, Gender
from callboard.contacts.service import ContactChanges, ContactService
from callboard.errors import (
    AlreadyExists,
    AlreadySending,
    InsufficientCredits,
    InvalidInput,
    InvalidStatus,
    NoRecipients,
    NotFound,
)
from callboard.ids import CampaignId, SegmentId, TenantId
from callboard.links.rules import extract_urls
from callboard.messages.messages import RunDrained
from callboard.messages.model import Fact, Priority, Reason, RunState, State
from callboard.messages.ports import Refused
from callboard.segments.service import SegmentService
from callboard.tenants.model import Channel
from callboard_adapters.memory import MemoryChannel

REFUSED = Refused(reason=Reason.REFUSED, provider_code="1")


def at(shop: Shop, **delta: float) -> Schedule:
    return Schedule(type=ScheduleType.SCHEDULED, at=shop.clock.now() + timedelta(**delta))


def every(days: int, shop: Shop, **delta: float) -> Schedule:
    first = shop.clock.now() + timedelta(**delta) if delta else None
    return Schedule(type=ScheduleType.RECURRING, at=first, every_days=days)


async def test_segment_preview_campaign_preview_queued_recipients_credits_and_messages_are_one_number() -> None:
    shop = await Shop().open(6)
    people = ContactService(work=shop.work, clock=shop.clock, ids=shop.ids)
    for number in range(1, 5):
        async with shop.work(shop.tenant) as w:
            person = await w.contacts.by_phone(f"+9198{number:08d}")
        assert person is not None
        await people.update(shop.tenant, person.id, ContactChanges(gender=Gender.FEMALE))
    await shop.person(50, consent=Consent.OPTED_OUT)
    await shop.person(51, consent=Consent.UNKNOWN)
    segments = SegmentService(work=shop.work, clock=shop.clock, ids=shop.ids)
    women = next(s for s in await segments.list(shop.tenant) if s.key == "gender_female")
    campaign = await shop.campaign(audience=InSegment(segment_id=women.id))
    async with shop.work(shop.tenant) as w:
        counted = await w.ledger.eligible(women.resolved, today=shop.clock.now().date())
    preview = await shop.campaigns.preview(shop.tenant, campaign.id)
    enqueued = await shop.campaigns.enqueue(shop.tenant, campaign.id)
    await shop.send_all()
    figures = {
        counted,
        preview.recipients,
        preview.credits,
        enqueued.recipients,
        enqueued.credits_debited,
        1000 - await shop.balance(),
        len(await shop.rows(enqueued.run_id)),
        len(shop.provider.accepted),
    }
    assert figures == {4}


async def test_an_empty_audience_changes_nothing() -> None:
    shop = await Shop().open(3)
    campaign = await shop.campaign("Hi, https://x.example/a", audience=OfGender(gender=Gender.MALE))
    with pytest.raises(NoRecipients):
        await shop.campaigns.enqueue(shop.tenant, campaign.id)
    assert await shop.reload(campaign) == campaign
    assert await shop.campaigns.runs(shop.tenant, campaign.id) == []
    assert await shop.balance() == 1000
    async with shop.work(shop.tenant) as w:
        assert await w.links.for_campaign(campaign.id) == []


async def test_too_few_credits_refuse_the_whole_request_and_one_credit_each_is_enough() -> None:
    shop = await Shop(credits=2).open(3)
    campaign = await shop.campaign()
    with pytest.raises(InsufficientCredits):
        await shop.campaigns.enqueue(shop.tenant, campaign.id)
    assert await shop.reload(campaign) == campaign
    assert await shop.balance() == 2
    exact = await Shop(credits=3).open(3)
    enqueued = await exact.campaigns.enqueue(exact.tenant, (await exact.campaign()).id)
    await exact.send_all()
    assert (await exact.tally(enqueued.run_id)).accepted == 3
    assert await exact.balance() == 0


async def test_twenty_enqueues_with_credits_for_ten_succeed_ten_times() -> None:
    shop = await Shop(credits=30).open(3)
    done = refused = 0
    for number in range(20):
        campaign = await shop.campaign(name=f"C{number}")
        try:
            await shop.campaigns.enqueue(shop.tenant, campaign.id)
            done += 1
        except InsufficientCredits:
            refused += 1
    assert (done, refused, await shop.balance()) == (10, 10, 0)
    await shop.conserved()


async def test_a_second_enqueue_is_refused_and_spends_nothing() -> None:
    shop = await Shop().open(3)
    campaign = await shop.campaign()
    await shop.campaigns.enqueue(shop.tenant, campaign.id)
    with pytest.raises(AlreadySending):
        await shop.campaigns.enqueue(shop.tenant, campaign.id)
    await shop.send_all()
    with pytest.raises(InvalidStatus):
        await shop.campaigns.enqueue(shop.tenant, campaign.id)
    assert len(shop.provider.asked) == 3
    assert await shop.balance() == 997


async def test_every_link_in_an_outbound_message_exists_and_leads_where_the_text_said() -> None:
    shop = await Shop().open(2)
    text = "See https://x.example/a?b=1, https://y.example/c and https://x.example/a?b=1."
    enqueued = await shop.campaigns.enqueue(shop.tenant, (await shop.campaign(text)).id)
    await shop.send_all()
    sent = shop.provider.accepted[0][1].text
    short = [url for url in extract_urls(sent) if not url.startswith(UNSUBSCRIBE)]
    assert len(short) == 2
    async with shop.system() as s:
        found = [await s.link_directory.by_token(url.removeprefix(SHORT)) for url in short]
    assert [link.url for link in found if link] == ["https://x.example/a?b=1", "https://y.example/c"]
    assert sent.endswith(shop.provider.accepted[0][1].text.rsplit("\n", 1)[1])
    assert enqueued.recipients == 2


async def test_a_later_round_uses_the_same_short_links() -> None:
    shop = await Shop().open(1)
    campaign = await shop.campaign("See https://x.example/a", schedule=every(1, shop))
    await shop.campaigns.enqueue(shop.tenant, campaign.id)
    await shop.send_all()
    await shop.wait(days=1)
    await shop.ticker.run_once()
    await shop.send_all()
    first, second = (message.text for _, message in shop.provider.accepted)
    assert first == second
    async with shop.work(shop.tenant) as w:
        assert len(await w.links.for_campaign(campaign.id)) == 1


async def test_a_link_that_may_not_be_followed_is_refused_when_it_is_written() -> None:
    shop = await Shop().open(1)
    with pytest.raises(InvalidInput) as refusal:
        await shop.campaign("See https://user:pw@x.example/")
    assert refusal.value.field == "message"


@pytest.mark.parametrize(
    ("message", "include", "value", "expected"),
    [
        ("Use {{discount}} now", True, "SAVE20", "Use SAVE20 now"),
        ("Use {{discount}} now", False, "SAVE20", "Use SAVE20 now"),
        ("Sale", True, "SAVE20", "Sale\nSAVE20"),
        ("Sale", False, "SAVE20", "Sale"),
        ("Use {{discount}} now", True, None, "Use now"),
        ("From {{shopName}}", False, None, "From Shop"),
    ],
)
async def test_each_accepted_option_has_an_effect_that_a_customer_sees(
    message: str, include: bool, value: str | None, expected: str
) -> None:
    shop = await Shop().open(1)
    campaign = await shop.campaign(message, include_discount=include, discount_value=value)
    preview = await shop.campaigns.preview(shop.tenant, campaign.id)
    await shop.campaigns.enqueue(shop.tenant, campaign.id)
    await shop.send_all()
    sent = shop.provider.accepted[0][1].text
    assert sent.split("\nUnsubscribe")[0] == expected == preview.text.split("\nUnsubscribe")[0]


async def test_a_preview_shows_text_parts_cost_and_what_will_vanish() -> None:
    shop = await Shop(credits=1).open(2)
    preview = await shop.campaigns.preview_draft(
        shop.tenant, CreateCampaign(name="x", message="Hi {{firstName}} {{oops}}", audience=Everybody())
    )
    assert preview.text.startswith("Hi P1\n")
    assert (preview.recipients, preview.credits, preview.balance, preview.affordable) == (2, 2, 1, False)
    assert preview.unknown == ("oops",)
    assert preview.parts.parts == 1


async def test_urgent_goes_before_normal_before_low() -> None:
    shop = await Shop().open(1)
    for priority in (Priority.LOW, Priority.NORMAL, Priority.URGENT, Priority.HIGH):
        campaign = await shop.campaign(priority.value, name=priority.value, priority=priority)
        await shop.campaigns.enqueue(shop.tenant, campaign.id)
    await shop.dispatch()
    order = [message.text.split("\n")[0] for _, message in shop.provider.accepted]
    assert order == ["urgent", "high", "normal", "low"]


async def test_names_are_unique_and_unknown_things_are_not_found() -> None:
    shop = await Shop().open(1)
    campaign = await shop.campaign()
    with pytest.raises(AlreadyExists):
        await shop.campaign()
    with pytest.raises(NotFound):
        await shop.campaigns.get(shop.tenant, CampaignId(hex_id(404)))
    with pytest.raises(NotFound):
        await shop.campaign(name="other", audience=InSegment(segment_id=SegmentId(hex_id(404))))
    changed = await shop.campaigns.update(shop.tenant, campaign.id, ChangeCampaign(message="New"))
    assert await shop.reload(campaign) == changed
    await shop.campaigns.delete(shop.tenant, campaign.id)
    with pytest.raises(NotFound):
        await shop.reload(campaign)


# --- pause, cancel, retry ---------------------------------------------------------------------------------------------


async def half_sent() -> tuple[Shop, Any, Any]:
    shop = await Shop(provider=MemoryChannel(concurrency=2)).open(6)
    campaign = await shop.campaign()
    enqueued = await shop.campaigns.enqueue(shop.tenant, campaign.id)
    await shop.dispatcher().run_once(stopping=lambda: len(shop.provider.asked) >= 2)
    return shop, campaign, enqueued


async def test_cancel_takes_out_what_is_queued_refunds_exactly_that_and_nothing_is_sent_afterwards() -> None:
    shop, campaign, enqueued = await half_sent()
    cancelled = await shop.campaigns.cancel(shop.tenant, campaign.id)
    assert cancelled.messages == 4
    await shop.send_all()
    assert len(shop.provider.asked) == 2
    assert await shop.balance() == 998
    assert (await shop.tally(enqueued.run_id))[State.CANCELLED] == 4
    assert (await shop.reload(campaign)).status is CampaignStatus.CANCELLED
    with pytest.raises(InvalidStatus):
        await shop.campaigns.cancel(shop.tenant, campaign.id)
    await shop.receipts.apply(shop.receipts_for(Fact.DELIVERED))
    await shop.conserved()


async def test_a_pause_holds_everything_and_resume_goes_on_without_doubles() -> None:
    shop, campaign, enqueued = await half_sent()
    await shop.campaigns.pause(shop.tenant, campaign.id)
    await shop.dispatch()
    assert len(shop.provider.asked) == 2
    with pytest.raises(AlreadySending):
        await shop.campaigns.enqueue(shop.tenant, campaign.id)
    with pytest.raises(InvalidStatus):
        await shop.campaigns.delete(shop.tenant, campaign.id)
    await shop.campaigns.resume(shop.tenant, campaign.id)
    await shop.send_all()
    assert len(shop.provider.asked) == 6
    assert (await shop.reload(campaign)).status is CampaignStatus.SENT
    assert (await shop.tally(enqueued.run_id)).accepted == 6


async def test_a_paused_campaign_can_be_cancelled() -> None:
    shop, campaign, _ = await half_sent()
    await shop.campaigns.pause(shop.tenant, campaign.id)
    assert (await shop.campaigns.cancel(shop.tenant, campaign.id)).messages == 4
    await shop.conserved()


async def test_when_everything_is_handed_over_there_is_nothing_to_pause_or_cancel() -> None:
    shop = await Shop().open(2)
    campaign = await shop.campaign()
    await shop.campaigns.enqueue(shop.tenant, campaign.id)
    await shop.dispatch()  # the run has drained, its event waits in the outbox
    for stop in (shop.campaigns.pause, shop.campaigns.cancel):
        with pytest.raises(InvalidStatus):
            await stop(shop.tenant, campaign.id)
    await shop.settle_events()
    assert (await shop.reload(campaign)).status is CampaignStatus.SENT


async def test_retry_failed_sends_to_the_failed_only_through_the_same_pipeline() -> None:
    refuse = {2, 3}
    shop = await Shop(provider=MemoryChannel(script=lambda m: REFUSED if m.reference.seq in refuse else None)).open(4)
    campaign = await shop.campaign("Hi {{firstName}}, https://x.example/")
    first = await shop.campaigns.enqueue(shop.tenant, campaign.id)
    await shop.send_all()
    refuse.clear()
    again = await shop.campaigns.retry_failed(shop.tenant, campaign.id)
    assert (again.recipients, again.credits_debited) == (2, 2)
    await shop.send_all()
    last = [message for _, message in shop.provider.accepted][-2:]
    assert [message.to for message in last] == ["+919800000002", "+919800000003"]
    assert last[0].text.startswith("Hi P2, " + SHORT)
    assert UNSUBSCRIBE in last[0].text
    assert (await shop.tally(first.run_id)).recipients == 4
    assert (await shop.reload(campaign)).status is CampaignStatus.SENT
    assert await shop.balance() == 996
    with pytest.raises(NoRecipients):
        await shop.campaigns.retry_failed(shop.tenant, campaign.id)
    await shop.conserved()


async def test_a_campaign_that_was_never_sent_has_nothing_to_retry() -> None:
    shop = await Shop().open(1)
    campaign = await shop.campaign(schedule=at(shop, hours=1))
    with pytest.raises(InvalidStatus):
        await shop.campaigns.retry_failed(shop.tenant, campaign.id)


# --- schedules --------------------------------------------------------------------------------------------------------


async def test_a_scheduled_campaign_starts_at_its_time_and_not_before() -> None:
    shop = await Shop().open(2)
    campaign = await shop.campaign(schedule=at(shop, hours=2))
    assert campaign.status is CampaignStatus.SCHEDULED
    await shop.wait(hours=1, minutes=59)
    assert await shop.ticker.run_once() == 0
    await shop.wait(minutes=1)
    shop.hints.heard.clear()
    assert await shop.ticker.run_once() == 1
    assert ("dispatch", ()) in shop.hints.heard
    assert await shop.ticker.run_once() == 0
    await shop.send_all()
    assert len(shop.provider.asked) == 2
    assert (await shop.reload(campaign)).status is CampaignStatus.SENT


async def test_later_than_the_grace_is_missed_reported_and_not_sent() -> None:
    shop = await Shop().open(2)
    campaign = await shop.campaign(schedule=at(shop, hours=1))
    await shop.wait(hours=7, minutes=1)
    await shop.ticker.run_once()
    await shop.send_all()
    missed = await shop.reload(campaign)
    assert (missed.status, missed.status_reason) == (CampaignStatus.FAILED, "missed")
    assert not shop.provider.asked
    assert await shop.balance() == 1000


async def test_moving_cancelling_or_deleting_a_schedule_moves_or_removes_its_timer() -> None:
    shop = await Shop().open(1)
    moved = await shop.campaign(name="moved", schedule=at(shop, hours=1))
    gone = await shop.campaign(name="gone", schedule=at(shop, hours=1))
    stopped = await shop.campaign(name="stopped", schedule=at(shop, hours=1))
    by_hand = await shop.campaign(name="hand", schedule=at(shop, hours=1))
    await shop.campaigns.schedule(shop.tenant, moved.id, at(shop, hours=3))
    await shop.campaigns.delete(shop.tenant, gone.id)
    await shop.campaigns.cancel(shop.tenant, stopped.id)
    await shop.campaigns.enqueue(shop.tenant, by_hand.id)
    await shop.send_all()
    await shop.wait(hours=2)
    assert await shop.ticker.run_once() == 0
    await shop.wait(hours=1)
    assert await shop.ticker.run_once() == 1
    await shop.send_all()
    assert len(shop.provider.asked) == 2


async def test_recurring_really_recurs_each_round_a_run_of_its_own() -> None:
    shop = await Shop().open(2)
    campaign = await shop.campaign(schedule=every(7, shop, hours=1))
    for number in range(1, 4):
        await shop.wait(hours=1) if number == 1 else await shop.wait(days=7)
        assert await shop.ticker.run_once() == 1
        await shop.send_all()
        now = await shop.reload(campaign)
        assert (now.status, now.rounds) == (CampaignStatus.SCHEDULED, number)
        assert now.next_run_at == shop.clock.now() + timedelta(days=7)
        await shop.person(100 + number)
    runs = await shop.campaigns.runs(shop.tenant, campaign.id)
    assert [(run.number, run.recipients, run.state) for run in runs] == [
        (1, 2, RunState.DONE),
        (2, 3, RunState.DONE),
        (3, 4, RunState.DONE),
    ]
    await shop.campaigns.cancel(shop.tenant, campaign.id)
    await shop.wait(days=8)
    assert await shop.ticker.run_once() == 0


async def test_missed_rounds_collapse_to_one_and_a_missed_one_goes_on_with_the_next() -> None:
    shop = await Shop().open(1)
    campaign = await shop.campaign(schedule=every(1, shop, hours=1))
    await shop.wait(days=5, hours=2)
    await shop.ticker.run_once()
    await shop.send_all()
    assert len(shop.provider.asked) == 1
    await shop.wait(days=3, hours=10)
    await shop.ticker.run_once()
    await shop.send_all()
    late = await shop.reload(campaign)
    assert len(shop.provider.asked) == 1
    assert (late.status, late.status_reason) == (CampaignStatus.SCHEDULED, "missed")
    assert late.next_run_at is not None
    assert late.next_run_at > shop.clock.now()


async def test_a_round_that_is_due_while_the_last_one_is_still_sending_waits_for_it() -> None:
    shop = await Shop(provider=MemoryChannel(concurrency=1)).open(2)
    campaign = await shop.campaign(schedule=every(1, shop))
    await shop.campaigns.enqueue(shop.tenant, campaign.id)
    await shop.wait(days=1, hours=1)
    assert await shop.ticker.run_once() == 0
    await shop.send_all()
    assert (await shop.reload(campaign)).status is CampaignStatus.SCHEDULED
    assert await shop.ticker.run_once() == 1
    await shop.send_all()
    assert len(shop.provider.asked) == 4
    assert (await shop.reload(campaign)).rounds == 2


@pytest.mark.parametrize(("granted", "people", "reason"), [(1, 2, "insufficient_credits"), (10, 0, "no_recipients")])
async def test_a_round_that_cannot_start_fails_with_its_reason_and_does_not_loop(
    granted: int, people: int, reason: str
) -> None:
    shop = await Shop(credits=granted).open(people)
    campaign = await shop.campaign(schedule=at(shop, hours=1))
    await shop.wait(hours=1)
    assert await shop.ticker.run_once() == 1
    assert shop.failures == []
    failed = await shop.reload(campaign)
    assert (failed.status, failed.status_reason) == (CampaignStatus.FAILED, reason)
    assert await shop.balance() == granted
    for _ in range(5):
        await shop.wait(hours=1)
        assert await shop.ticker.run_once() == 0


async def test_a_campaign_whose_start_breaks_again_and_again_says_so() -> None:
    broken: list[str] = []

    async def checkpoint(moment: str) -> None:
        if broken and moment == "before ledger.freeze":
            raise RuntimeError("a bug")

    shop = await Shop(checkpoint=checkpoint).open(1)
    campaign = await shop.campaign(schedule=at(shop, hours=1))
    await shop.wait(hours=1)
    broken.append("now")
    for _ in range(10):
        await shop.ticker.run_once()
        await shop.wait(seconds=61)
    assert len(shop.failures) == 5
    failed = await shop.reload(campaign)
    assert (failed.status, failed.status_reason) == (CampaignStatus.FAILED, "could_not_start")
    assert await shop.balance() == 1000


async def test_a_tenant_cannot_touch_the_campaign_of_another() -> None:
    shop = await Shop().open(1)
    campaign = await shop.campaign()
    stranger = Shop()
    stranger.store = shop.store
    other = stranger.tenant = TenantId(hex_id(12345))
    stranger.work, stranger.system = shop.work, shop.system
    await stranger.open(1)
    for use in (
        shop.campaigns.get,
        shop.campaigns.enqueue,
        shop.campaigns.cancel,
        shop.campaigns.delete,
        shop.campaigns.pause,
        shop.campaigns.preview,
        shop.campaigns.runs,
        shop.campaigns.retry_failed,
    ):
        with pytest.raises(NotFound):
            await use(other, campaign.id)
    assert await shop.reload(campaign) == campaign


async def test_an_old_round_that_drains_late_does_not_end_the_new_one() -> None:
    shop = await Shop().open(1)
    campaign = await shop.campaign(schedule=every(1, shop))
    first = await shop.campaigns.enqueue(shop.tenant, campaign.id)
    await shop.send_all()
    await shop.campaigns.enqueue(shop.tenant, campaign.id)
    async with shop.work(shop.tenant) as w:
        await w.outbox.add(RunDrained(run_id=first.run_id, campaign_id=campaign.id))
    await shop.settle_events()
    assert (await shop.reload(campaign)).status is CampaignStatus.SENDING


async def test_a_sending_campaign_whose_sender_is_paused_says_why_and_until_when() -> None:
    shop = await Shop().open(2)
    campaign = await shop.campaign()
    assert await shop.campaigns.held_by(shop.tenant, campaign.id) is None
    await shop.campaigns.enqueue(shop.tenant, campaign.id)
    assert await shop.campaigns.held_by(shop.tenant, campaign.id) is None
    until = shop.clock.now() + timedelta(minutes=1)
    async with shop.work(shop.tenant) as w:
        await w.senders.pause(Channel.SMS, until=until, reason="Set CALLBOARD_SMS_API_KEY")
    held = await shop.campaigns.held_by(shop.tenant, campaign.id)
    assert held is not None
    assert (held.reason, held.paused_until) == ("Set CALLBOARD_SMS_API_KEY", until)
    shop.clock.advance(timedelta(minutes=2))
    assert await shop.campaigns.held_by(shop.tenant, campaign.id) is None
