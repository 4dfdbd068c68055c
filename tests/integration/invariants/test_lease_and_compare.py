"""Every change of a row is a compare-and-set under a lease: whoever comes late changes nothing."""

from __future__ import annotations

from tests.contract.world import OVER, World, accepted, change, sending
from tests.integration.invariants.street import Street

from callboard.messages.model import Reason, RunState, State


def world_of(street: Street) -> World:
    return World(work=street.container.store.work, system=street.container.store.system, ids=street.container.ids)


async def test_who_lost_his_lease_marks_nothing_even_if_he_never_looked(both: Street) -> None:
    world = world_of(both)
    tenant = await world.tenant()
    run = await world.run(tenant, people=2)
    lost = await world.must_claim(lease=OVER)
    assert await world.expire() == 1
    assert await world.mark(lost, sending(1)) == frozenset()  # nobody holds the chunk
    held = await world.must_claim()
    assert await world.mark(lost, sending(1), sending(2)) == frozenset()  # somebody else does
    assert await world.mark(held, sending(1)) == {1}
    assert await world.states(tenant, run.id) == [State.SENDING, State.QUEUED]


async def test_nothing_is_marked_while_the_run_is_paused(both: Street) -> None:
    world = world_of(both)
    tenant = await world.tenant()
    run = await world.run(tenant, people=1)
    chunk = await world.must_claim()
    async with world.work(tenant) as w:
        assert await w.ledger.move_run(run.id, to=RunState.PAUSED, expected=[RunState.OPEN], now=world.now())
    assert await world.mark(chunk, sending(1)) == frozenset()
    assert await world.states(tenant, run.id) == [State.QUEUED]


async def test_a_rescuer_overwrites_no_finished_work_and_a_late_answer_no_newer_attempt(both: Street) -> None:
    world = world_of(both)
    tenant = await world.tenant()
    run = await world.run(tenant, people=2)
    chunk = await world.must_claim(lease=OVER)
    await world.mark(chunk, sending(1), sending(2))
    await world.settle(chunk, accepted(1, "p-1"))
    await world.expire()  # the rescuer: one row was settled a moment before
    assert await world.states(tenant, run.id) == [State.ACCEPTED, State.UNKNOWN]
    late = change(2, State.FAILED, Reason.REFUSED, attempt=7, refund=True)
    again = change(1, State.FAILED, Reason.REFUSED, refund=True)
    assert await world.settle(chunk, late, again) == frozenset()
    assert await world.states(tenant, run.id) == [State.ACCEPTED, State.UNKNOWN]
