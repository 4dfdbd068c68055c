"""Random histories of a run: after each step the counts are the recount and the credits are conserved."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.world import LONG, OVER, World, accepted, change, sending

from callboard.ids import MessageId, RunId, TenantId
from callboard.messages.model import OPEN, Change, Chunk, Fact, Reason, Receipt, Run, RunState, State

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["claim", "claim over", "wave", "settle", "release", "expire", "cancel", "receipt", "give up", "receipt"]
        ),
        st.integers(0, 5),
        st.sampled_from(["accepted", "refused", "again", "unknown"]),
    ),
    max_size=14,
)
PEOPLE = 5


class History:
    """One run and the worker that holds one of its chunks, through the ports only."""

    def __init__(self, world: World, tenant: TenantId, run: Run) -> None:
        self.world, self.tenant, self.run = world, tenant, run
        self.chunk: Chunk | None = None
        self.claimed: list[Chunk] = []

    async def step(self, what: str, n: int, answer: str) -> None:
        world, now = self.world, self.world.now()
        if what.startswith("claim"):
            self.chunk = await world.claim(lease=OVER if what == "claim over" else LONG, max_claims=99)
            self.claimed += [self.chunk] if self.chunk is not None else []
        elif what == "expire":
            await world.expire()
        elif what == "cancel":
            async with world.work(self.tenant) as w:
                if await w.ledger.move_run(self.run.id, to=RunState.CANCELLED, expected=[RunState.OPEN], now=now):
                    gone = await w.ledger.cancel_queued(self.run.id, now=now)
                    if gone:
                        await w.credits.book(world.entry(f"cancel:{self.run.id.hex}", gone, run=self.run.id))
        elif what == "give up":
            async with world.system() as s:
                later = now + timedelta(days=1)
                for lost in await s.queue.give_up(older_than=later, now=later, limit=9):
                    await s.accounts.book(lost.tenant_id, world.entry(f"refund:{lost.id}", 1, run=self.run.id))
        elif what == "receipt":
            fact = tuple(Fact)[n % len(Fact)]
            seq = n % PEOPLE + 1
            receipt = Receipt(
                provider="x",
                provider_message_id=f"{self.run.id.hex}-{seq}",
                message_id=MessageId(self.run.id, seq),
                fact=fact,
                at=now,
            )
            async with world.system() as s:
                done = await s.receipts.apply([receipt], now=now)
                assert done.changed + done.duplicate + done.parked <= 1
        elif self.chunk is not None:
            await self.wave(self.chunk, what, answer)

    async def wave(self, chunk: Chunk, what: str, answer: str) -> None:
        world, now = self.world, self.world.now()
        if what == "release":
            if await world.release(chunk):
                assert not any(row.state in OPEN for row in await world.rows(self.tenant, self.run.id))
            return
        async with world.work(self.tenant) as w:
            if what == "settle":
                rows = await w.ledger.messages(self.run.id)
                changes = [self.answer(row.id.seq, row.attempt, answer) for row in rows]
                changed = await w.ledger.settle(chunk, changes, now=now, remember=True)
                refunds = [c.seq for c in changes if c.refund and c.seq in changed]
            elif not await w.ledger.renew(chunk, lease=LONG):
                return
            else:
                found = await w.ledger.candidates(chunk, limit=2, now=now, cap=None)
                skip = answer == "refused"
                decided = [
                    change(c.seq, State.SKIPPED, Reason.OPTED_OUT, attempt=c.attempt, refund=True)
                    if skip
                    else sending(c.seq, attempt=c.attempt + 1)
                    for c in found
                ]
                changed = await w.ledger.mark(chunk, decided, now=now)
                assert changed == {c.seq for c in found}
                refunds = sorted(changed) if skip else []
            entries = [world.entry(f"refund:{MessageId(self.run.id, seq)}", 1, run=self.run.id) for seq in refunds]
            assert await w.credits.book(*entries) == len(entries)

    def answer(self, seq: int, attempt: int, answer: str) -> Change:
        match answer:
            case "accepted":
                return accepted(seq, f"{self.run.id.hex}-{seq}", attempt=attempt)
            case "refused":
                return change(seq, State.FAILED, Reason.REFUSED, attempt=attempt, refund=True)
            case "again":
                return change(seq, State.QUEUED, Reason.PROVIDER_BUSY, attempt=attempt)
            case _:
                return change(seq, State.UNKNOWN, Reason.NO_ANSWER, attempt=attempt)

    async def check(self) -> None:
        rows = await self.world.rows(self.tenant, self.run.id)
        assert [row.id.seq for row in rows] == list(range(1, PEOPLE + 1))
        async with self.world.work(self.tenant) as w:
            tally = await w.ledger.tally([self.run.id])
            entries = await w.credits.entries(limit=100)
            balance = await w.credits.balance()
        assert {s: n for s, n in tally.by_state.items() if n} == Counter(row.state for row in rows)
        told = Counter(
            row.reason
            for row in rows
            if row.reason not in (None, Reason.CLEARED)
            and row.state not in (State.ACCEPTED, State.SENT, State.DELIVERED, State.READ)
        )
        assert {r: n for r, n in tally.by_reason.items() if n} == told
        assert tally.recipients == PEOPLE
        assert balance == sum(e.amount for e in entries)
        assert sum(e.amount for e in entries if e.run_id == self.run.id) == -sum(row.credits for row in rows)

    async def nothing_is_stranded(self) -> None:
        """Every row that may still be attempted is in a chunk that somebody can get."""
        async with self.world.work(self.tenant) as w:
            run = await w.ledger.run(self.run.id)
            for mine in self.claimed:
                await w.ledger.release(mine, now=self.world.now(), not_before=None)
        assert run is not None
        if run.state is not RunState.OPEN:
            return
        await self.world.expire()
        seen: set[int] = set()
        while (chunk := await self.world.claim(max_claims=99)) is not None:
            if chunk.run_id == run.id:
                seen |= {c.seq for c in await self.world.candidates(chunk)}
        rows = await self.world.rows(self.tenant, run.id)
        assert seen == {row.id.seq for row in rows if row.state is State.QUEUED}


async def _retire(world: World, tenant: TenantId, run: RunId) -> None:
    """Leave nothing behind for the next example."""
    async with world.work(tenant) as w:
        both = [RunState.OPEN, RunState.PAUSED]
        await w.ledger.move_run(run, to=RunState.DONE, expected=both, now=world.now())


@given(steps=STEPS, chunk=st.sampled_from([1, 2, 5]))
@settings(max_examples=30)
async def test_counts_are_recounts_and_credits_are_conserved(
    world: World, steps: list[tuple[str, int, str]], chunk: int
) -> None:
    tenant = await world.tenant(credits=PEOPLE)
    run = await world.run(tenant, people=PEOPLE, chunk=chunk)
    async with world.work(tenant) as w:
        await w.credits.book(world.entry(f"debit:{run.id.hex}", -PEOPLE, run=run.id))
    history = History(world, tenant, run)
    for what, n, answer in steps:
        await history.step(what, n, answer)
        await history.check()
    await history.nothing_is_stranded()
    await _retire(world, tenant, run.id)
