"""The queue of chunks: order, leases, fences, the dead, the unknown, the drained."""

from __future__ import annotations

from datetime import timedelta

from tests.contract.world import LONG, OVER, World, accepted, answers, change, sending, together

from callboard.messages.model import Priority, Reason, RunState, State


async def test_the_most_urgent_run_goes_first_then_the_oldest(world: World) -> None:
    tenant, other = await world.tenant(), await world.tenant()
    await world.people(tenant, 1)
    await world.people(other, 1)
    now = world.now()
    order = [
        await world.run(owner, priority=priority, created_at=now - timedelta(minutes=age))
        for owner, priority, age in (
            (tenant, Priority.LOW, 9),
            (other, Priority.NORMAL, 2),
            (tenant, Priority.NORMAL, 5),
            (tenant, Priority.URGENT, 0),
            (other, Priority.HIGH, 1),
            (tenant, Priority.HIGH, 0),
        )
    ]
    claimed = [await world.must_claim() for _ in order]
    assert [c.run_id for c in claimed] == [order[n].id for n in (3, 4, 5, 2, 1, 0)]
    assert [c.tenant_id for c in claimed] == [tenant, other, tenant, tenant, other, tenant]


async def test_chunks_of_one_run_go_in_order(world: World) -> None:
    tenant = await world.tenant()
    run = await world.run(tenant, people=5, chunk=2)
    claimed = [await world.must_claim() for _ in range(3)]
    assert [(c.run_id, c.number, c.first, c.last, c.claim) for c in claimed] == [
        (run.id, 1, 1, 2, 1),
        (run.id, 2, 3, 4, 1),
        (run.id, 3, 5, 5, 1),
    ]


async def test_many_workers_never_share_a_chunk(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=5, chunk=1)
    got = answers(await together(*(world.claim(worker=f"w{n}") for n in range(8))))
    # a worker that finds its chunk just taken may go away empty-handed; nobody else's chunk is ever handed out
    taken = [c.number for c in got if c is not None]
    assert len(taken) == len(set(taken))
    while (chunk := await world.claim()) is not None:
        taken.append(chunk.number)
    assert sorted(taken) == [1, 2, 3, 4, 5]


async def test_only_open_runs_are_handed_out(world: World) -> None:
    tenant = await world.tenant()
    run = await world.run(tenant, people=1)
    async with world.work(tenant) as w:
        await w.ledger.move_run(run.id, to=RunState.PAUSED, expected=[RunState.OPEN], now=world.now())
    assert await world.claim() is None
    async with world.system() as s:
        assert await s.queue.waiting() == 0
    async with world.work(tenant) as w:
        await w.ledger.move_run(run.id, to=RunState.OPEN, expected=[RunState.PAUSED], now=world.now())
    async with world.system() as s:
        assert await s.queue.waiting() == 1
    assert await world.claim() is not None
    async with world.work(tenant) as w:
        await w.ledger.move_run(run.id, to=RunState.CANCELLED, expected=[RunState.OPEN], now=world.now())
    assert await world.claim() is None


async def test_waiting_counts_what_could_be_claimed(world: World) -> None:
    tenant = await world.tenant()
    async with world.system() as s:
        assert await s.queue.waiting() == 0
    await world.run(tenant, people=3, chunk=1)
    await world.must_claim()
    async with world.system() as s:
        assert await s.queue.waiting() == 2


async def test_a_lease_that_is_over_makes_sending_unknown(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=3)
    chunk = await world.must_claim(lease=timedelta(milliseconds=200))
    await world.mark(chunk, sending(1), sending(2))
    await world.settle(chunk, accepted(1))
    await world.wait(0.25)
    assert await world.expire() == 1
    assert await world.expire() == 0
    one, two, three = await world.rows(tenant, chunk.run_id)
    assert one.state is State.ACCEPTED
    assert (two.state, two.reason, two.attempt, two.credits) == (State.UNKNOWN, Reason.WORKER_LOST, 1, 1)
    assert three.state is State.QUEUED
    async with world.work(tenant) as w:
        tally = await w.ledger.tally([chunk.run_id])
    assert tally.by_state == {State.ACCEPTED: 1, State.UNKNOWN: 1, State.QUEUED: 1}
    again = await world.must_claim()
    assert (again.number, again.claim) == (chunk.number, chunk.claim + 1)
    assert [c.seq for c in await world.candidates(again)] == [3]


async def test_a_lease_that_is_not_over_is_left_alone(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1, lease=LONG)
    assert await world.expire() == 0
    assert (await world.row(chunk)).state is State.SENDING
    assert await world.claim() is None


async def test_a_lease_is_over_whatever_became_of_the_run(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=1, lease=OVER)
    async with world.work(tenant) as w:
        await w.ledger.move_run(chunk.run_id, to=RunState.CANCELLED, expected=[RunState.OPEN], now=world.now())
    assert await world.expire() == 1
    assert (await world.row(chunk)).state is State.UNKNOWN


async def test_expiring_has_a_limit(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=3, chunk=1)
    for _ in range(3):
        await world.must_claim(lease=OVER)
    async with world.system() as s:
        assert await s.queue.expire(limit=2) == 2
    async with world.system() as s:
        assert await s.queue.expire(limit=2) == 1


async def test_rows_left_behind_in_sending_become_unknown_with_the_next_claim(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=2)
    await world.settle(chunk, accepted(1))
    assert not await world.release(chunk)  # something of it still hangs in the air
    again = await world.must_claim()
    assert again.claim == chunk.claim + 1
    assert await world.states(tenant, chunk.run_id) == [State.ACCEPTED, State.UNKNOWN]
    assert await world.release(again)


async def test_a_lost_worker_cannot_mark(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=1)
    lost = await world.must_claim(lease=OVER)
    await world.expire()
    held = await world.must_claim()
    async with world.work(tenant) as w:  # a wave begins by renewing, and stops when that fails
        assert not await w.ledger.renew(lost, lease=LONG)
    assert await world.mark(held, sending(1)) == {1}


async def test_a_chunk_that_kills_its_workers_is_set_aside_and_can_be_revived(world: World) -> None:
    tenant = await world.tenant()
    run = await world.run(tenant, people=1)
    for n in (1, 2, 3):
        chunk = await world.claim(lease=OVER, max_claims=3)
        assert chunk is not None
        assert chunk.claim == n
        await world.expire()
    assert await world.claim(max_claims=3) is None
    async with world.system() as s:
        dead = await s.queue.dead()
        assert [(c.run_id, c.tenant_id, c.number, c.first, c.last) for c in dead] == [(run.id, tenant, 1, 1, 1)]
        assert await s.queue.waiting() == 0
        assert await s.queue.drained(limit=9) == []
        assert not await s.queue.revive(run.id, 2)
        assert await s.queue.revive(run.id, 1)
        assert not await s.queue.revive(run.id, 1)
        assert await s.queue.dead() == []
    assert await world.claim(max_claims=3) is not None


async def test_a_dead_chunk_does_not_stand_in_the_way(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=2, chunk=1)
    for _ in range(2):
        chunk = await world.claim(lease=OVER, max_claims=2)
        assert chunk is not None
        assert chunk.number == 1
        await world.expire()
    for _ in range(2):  # at most one round is spent on setting it aside
        chunk = await world.claim(max_claims=2)
        if chunk is not None:
            break
    assert chunk is not None
    assert chunk.number == 2


async def test_a_wave_that_commits_is_progress(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=6)
    for seq in range(1, 7):
        chunk = await world.claim(lease=OVER, max_claims=2)
        assert chunk is not None, seq
        async with world.work(tenant) as w:
            assert await w.ledger.renew(chunk, lease=OVER)
            assert await w.ledger.mark(chunk, [sending(seq)], now=world.now()) == {seq}
        await world.expire()
    async with world.system() as s:
        assert await s.queue.dead() == []


async def test_giving_a_chunk_back_is_no_death(world: World) -> None:
    tenant = await world.tenant()
    await world.run(tenant, people=1)
    for _ in range(6):
        chunk = await world.claim(max_claims=2)
        assert chunk is not None
        await world.release(chunk)


async def test_unknown_rows_are_given_up_after_the_window(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=3)
    await world.settle(chunk, accepted(1), *(change(seq, State.UNKNOWN, Reason.NO_ANSWER) for seq in (2, 3)))
    now = world.now()
    async with world.system() as s:
        assert await s.queue.give_up(older_than=now - timedelta(hours=1), now=now, limit=9) == []
    later = now + timedelta(hours=1)
    async with world.system() as s:
        first = await s.queue.give_up(older_than=later, now=later, limit=1)
    async with world.system() as s:
        second = await s.queue.give_up(older_than=later, now=later, limit=9)
        assert await s.queue.give_up(older_than=later, now=later, limit=9) == []
    assert sorted((r.tenant_id, r.id.run_id, r.id.seq) for r in (*first, *second)) == [
        (tenant, chunk.run_id, 2),
        (tenant, chunk.run_id, 3),
    ]
    assert len(first) == 1
    rows = await world.rows(tenant, chunk.run_id)
    assert [(r.state, r.reason, r.credits) for r in rows] == [
        (State.ACCEPTED, Reason.CLEARED, 1),
        (State.UNCONFIRMED, Reason.NO_PROOF, 0),
        (State.UNCONFIRMED, Reason.NO_PROOF, 0),
    ]
    async with world.work(tenant) as w:
        tally = await w.ledger.tally([chunk.run_id])
    assert tally.by_state == {State.ACCEPTED: 1, State.UNCONFIRMED: 2}
    assert tally.by_reason == {"no_proof": 2}


async def test_a_row_is_given_up_once_by_however_many(world: World) -> None:
    tenant = await world.tenant()
    chunk = await world.sending(tenant, people=4)
    await world.settle(chunk, *(change(seq, State.UNKNOWN, Reason.NO_ANSWER) for seq in range(1, 5)))
    later = world.now() + timedelta(hours=1)

    async def give_up() -> list[int]:
        async with world.system() as s:
            return [r.id.seq for r in await s.queue.give_up(older_than=later, now=later, limit=9)]

    got = answers(await together(*(give_up() for _ in range(4))))
    assert sorted(seq for seqs in got for seq in seqs) == [1, 2, 3, 4]


async def test_drained_runs_are_open_runs_with_nothing_left(world: World) -> None:
    tenant = await world.tenant()
    await world.people(tenant, 1)
    busy, finished, told = [await world.run(tenant, priority=p) for p in (Priority.LOW, Priority.HIGH, Priority.HIGH)]
    for _ in (finished, told):
        chunk = await world.must_claim()
        await world.mark(chunk, sending(1))
        await world.settle(chunk, accepted(1, f"p-{chunk.run_id}"))
        assert await world.release(chunk)
    async with world.work(tenant) as w:
        await w.ledger.move_run(told.id, to=RunState.DONE, expected=[RunState.OPEN], now=world.now())
    async with world.system() as s:
        assert await s.queue.drained(limit=9) == [(tenant, finished.id)]
        assert await s.queue.drained(limit=0) == []
    chunk = await world.must_claim()
    assert chunk.run_id == busy.id
    async with world.system() as s:
        assert await s.queue.drained(limit=9) == [(tenant, finished.id)]
