"""A campaign's life as a machine: people, timers, workers, providers and crashes in any order."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.messages.shop import Shop, drive

from callboard.campaigns.model import Campaign, CampaignStatus, Schedule, ScheduleType
from callboard.contacts.model import ConsentSource
from callboard.contacts.service import ContactService
from callboard.errors import Conflict, InsufficientCredits, NoRecipients
from callboard.messages.model import Fact, Reason, RunState, State
from callboard.messages.ports import Ambiguous, Answer, NotSent, Outbound, Refused
from callboard.messages.rules import RANK
from callboard_adapters.memory import MemoryChannel

ANSWERS: tuple[Answer | None, ...] = (
    None,
    None,
    None,
    Refused(reason=Reason.REFUSED, provider_code="1"),
    Ambiguous(),
    NotSent(reason=Reason.PROVIDER_BUSY, throttled=True, retry_after=5),
    NotSent(reason=Reason.PROVIDER_UNREACHABLE),
)
REFUSALS = (Conflict, NoRecipients, InsufficientCredits)


class Killed(BaseException):
    """A worker that is gone."""


class CampaignLife(RuleBasedStateMachine):
    """One recurring or one-off campaign of a shop with three people and credits for about three rounds."""

    shop: Shop
    campaign: Campaign

    @initialize(days=st.none() | st.integers(1, 3), answers=st.lists(st.sampled_from(ANSWERS), max_size=12))
    def open(self, days: int | None, answers: list[Answer | None]) -> None:
        self.left = list(answers)
        self.fuse = -1
        self.ranks: dict[Any, int] = {}
        self.shop = Shop(
            credits=10,
            chunk=2,
            provider=MemoryChannel(concurrency=1, script=self._script, checkpoint=self._burn),
            checkpoint=self._burn,
        )
        drive(self.shop.open(3))
        schedule = Schedule() if days is None else Schedule(type=ScheduleType.RECURRING, every_days=days)
        self.campaign = drive(self.shop.campaign(schedule=schedule))

    def _script(self, message: Outbound) -> Answer | None:
        return self.left.pop() if self.left else None

    async def _burn(self, moment: str) -> None:
        if self.fuse == 0:
            self.fuse = -1
            raise Killed(moment)
        if self.fuse > 0:
            self.fuse -= 1

    def _try(self, step: Any) -> None:
        try:
            drive(step)
        except REFUSALS:
            event("refused")

    @rule()
    def enqueue(self) -> None:
        self._try(self.shop.campaigns.enqueue(self.shop.tenant, self.campaign.id))

    @rule()
    def pause(self) -> None:
        self._try(self.shop.campaigns.pause(self.shop.tenant, self.campaign.id))

    @rule()
    def resume(self) -> None:
        self._try(self.shop.campaigns.resume(self.shop.tenant, self.campaign.id))

    @rule()
    def cancel(self) -> None:
        self._try(self.shop.campaigns.cancel(self.shop.tenant, self.campaign.id))

    @rule()
    def retry_failed(self) -> None:
        self._try(self.shop.campaigns.retry_failed(self.shop.tenant, self.campaign.id))

    @rule(hours=st.integers(1, 30))
    def schedule(self, hours: int) -> None:
        due = Schedule(type=ScheduleType.SCHEDULED, at=self.shop.clock.now() + timedelta(hours=hours))
        self._try(self.shop.campaigns.schedule(self.shop.tenant, self.campaign.id, due))

    @rule(waves=st.integers(0, 3))
    def work(self, waves: int) -> None:
        calls = len(self.shop.provider.asked) + waves
        drive(self.shop.dispatcher().run_once(stopping=lambda: len(self.shop.provider.asked) >= calls))

    @rule(steps=st.integers(0, 60))
    def work_until_killed(self, steps: int) -> None:
        self.fuse = steps
        try:
            drive(self.shop.dispatcher("doomed").run_once())
        except Killed:
            event("killed")
        self.fuse = -1

    @rule(fact=st.sampled_from(Fact))
    def receive(self, fact: Fact) -> None:
        drive(self.shop.receipts.apply(self.shop.receipts_for(fact)))

    @rule()
    def deliver_events(self) -> None:
        drive(self.shop.settle_events())

    @rule()
    def tick(self) -> None:
        drive(self.shop.ticker.run_once())

    @rule()
    def sweep(self) -> None:
        drive(self.shop.sweep())

    @rule(seconds=st.sampled_from([30, 61, 600, 86_401]))
    def wait(self, seconds: int) -> None:
        drive(self.shop.wait(seconds=seconds))

    @precondition(lambda self: self.shop.clock.now().minute % 2)
    @rule(number=st.integers(1, 3))
    def opt_out(self, number: int) -> None:
        people = ContactService(work=self.shop.work, clock=self.shop.clock, ids=self.shop.ids)
        drive(people.opt_out(self.shop.tenant, f"+9198{number:08d}", source=ConsentSource.INBOUND))

    @invariant()
    def credits_are_conserved(self) -> None:
        drive(self.shop.conserved())

    @invariant()
    def nobody_gets_a_round_twice(self) -> None:
        accepted = Counter(message.reference for _, message in self.shop.provider.accepted)
        assert all(n == 1 for n in accepted.values())

    @invariant()
    def status_runs_and_rows_agree_and_nothing_falls_back(self) -> None:
        now = drive(self.shop.reload(self.campaign))
        runs = drive(self.shop.campaigns.runs(self.shop.tenant, self.campaign.id))
        assert now.rounds == len(runs) == len({run.number for run in runs})
        active = [run for run in runs if run.state in (RunState.OPEN, RunState.PAUSED)]
        assert all(run.id == now.current_run for run in active)
        if active:
            assert now.status is (
                CampaignStatus.PAUSED if active[0].state is RunState.PAUSED else CampaignStatus.SENDING
            )
        known = {message.reference for _, message in self.shop.provider.accepted}
        for run in runs:
            rows = drive(self.shop.rows(run.id))
            assert run.recipients == len(rows) > 0
            for row in rows:
                assert row.attempt <= 5
                assert RANK[row.state] >= self.ranks.get(row.id, 0)
                self.ranks[row.id] = RANK[row.state]
                if row.state in (State.ACCEPTED, State.SENT, State.DELIVERED, State.READ):
                    assert row.id in known
                if row.state in (State.SKIPPED, State.CANCELLED):
                    assert row.id not in known
                if run.state in (RunState.CANCELLED, RunState.DONE):
                    assert row.state is not State.QUEUED

    def teardown(self) -> None:
        """Faults off, run on: everything comes to its end, and a further round does nothing."""
        if not hasattr(self, "campaign"):
            return
        self.left.clear()
        self._try(self.shop.campaigns.resume(self.shop.tenant, self.campaign.id))
        if drive(self.shop.reload(self.campaign)).status is CampaignStatus.SCHEDULED:
            self._try(self.shop.campaigns.cancel(self.shop.tenant, self.campaign.id))
        for _ in range(30):
            drive(self.shop.sweep())
            drive(self.shop.send_all())
            drive(self.shop.wait(minutes=10))
        drive(self.shop.wait(days=1))
        drive(self.shop.sweep())
        drive(self.shop.settle_events())
        final = drive(self.shop.reload(self.campaign))
        assert final.status not in (CampaignStatus.SENDING, CampaignStatus.PAUSED)
        for run in drive(self.shop.campaigns.runs(self.shop.tenant, self.campaign.id)):
            left = Counter(row.state for row in drive(self.shop.rows(run.id)))
            assert not left[State.QUEUED] + left[State.SENDING] + left[State.UNKNOWN]
        drive(self.shop.conserved())
        asked = len(self.shop.provider.asked)
        drive(self.shop.send_all())
        assert len(self.shop.provider.asked) == asked


TestCampaignLife = CampaignLife.TestCase
TestCampaignLife.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
