"""Credits: entries by key, a balance that is their sum, never below zero."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.world import World, answers, together

from callboard.credits.model import Entry, EntryKind
from callboard.errors import InsufficientCredits
from callboard.ids import RunId, TenantId


async def balance(world: World, tenant: TenantId) -> tuple[int, int]:
    """What the account says and what its entries sum to."""
    async with world.work(tenant) as w:
        return await w.credits.balance(), sum(e.amount for e in await w.credits.entries(limit=1000))


async def test_entries_are_kept_whole_newest_first(world: World) -> None:
    tenant = await world.tenant()
    run = RunId(world.ids.new())
    start = world.now()
    made = [
        Entry(key="grant:1", kind=EntryKind.GRANT, amount=10, run_id=None, reason="hello ü", at=start),
        Entry(
            key=f"debit:{run.hex}",
            kind=EntryKind.DEBIT,
            amount=-4,
            run_id=run,
            reason=None,
            at=start + timedelta(seconds=1),
        ),
        Entry(
            key=f"refund:{run.hex}.1",
            kind=EntryKind.REFUND,
            amount=1,
            run_id=run,
            reason="x",
            at=start + timedelta(seconds=2),
        ),
        Entry(
            key=f"writeoff:{run.hex}.1",
            kind=EntryKind.WRITEOFF,
            amount=0,
            run_id=run,
            reason=None,
            at=start + timedelta(seconds=3),
        ),
    ]
    async with world.work(tenant) as w:
        assert [await w.credits.book(entry) for entry in made] == [10, -4, 1, 0]
        assert await w.credits.balance() == 7
    async with world.work(tenant) as w:
        assert await w.credits.entries() == made[::-1]
        assert await w.credits.entries(limit=2) == made[:1:-1]


async def test_a_key_is_booked_once(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        assert await w.credits.book(world.entry("a", 5)) == 5
        assert await w.credits.book(world.entry("a", 5), world.entry("b", 2)) == 2
        assert await w.credits.book(world.entry("a", 99), world.entry("b", 99)) == 0
        assert await w.credits.book(world.entry("c", 1), world.entry("c", 1)) == 1
        assert await w.credits.book() == 0
    assert await balance(world, tenant) == (8, 8)


async def test_a_debit_that_is_not_covered_books_nothing(world: World) -> None:
    tenant = await world.tenant(credits=5)
    async with world.work(tenant) as w:
        with pytest.raises(InsufficientCredits):
            await w.credits.book(world.entry("small", -1), world.entry("big", -5))
    assert await balance(world, tenant) == (5, 5)
    async with world.work(tenant) as w:
        assert [e.key for e in await w.credits.entries()] == ["grant"]
        assert await w.credits.book(world.entry("big", -5)) == -5
    assert await balance(world, tenant) == (0, 0)


async def test_a_debit_booked_already_needs_no_cover(world: World) -> None:
    tenant = await world.tenant(credits=5)
    async with world.work(tenant) as w:
        await w.credits.book(world.entry("debit", -5))
        assert await w.credits.book(world.entry("debit", -5)) == 0


async def test_twenty_parallel_debits_with_credits_for_ten(world: World) -> None:
    tenant = await world.tenant(credits=10)

    async def debit(n: int) -> int:
        async with world.work(tenant) as w:
            return await w.credits.book(world.entry(f"debit:{n}", -1))

    results = await together(*(debit(n) for n in range(20)))
    assert results.count(-1) == 10
    assert sum(isinstance(r, InsufficientCredits) for r in results) == 10
    assert await balance(world, tenant) == (0, 0)


async def test_one_key_booked_by_many_at_once_moves_the_balance_once(world: World) -> None:
    tenant = await world.tenant(credits=10)

    async def refund() -> int:
        async with world.work(tenant) as w:
            return await w.credits.book(world.entry("refund:x", 3))

    assert sorted(answers(await together(*(refund() for _ in range(8))))) == [0] * 7 + [3]
    assert await balance(world, tenant) == (13, 13)


async def test_many_refunds_in_any_order_do_not_lock_each_other_out(world: World) -> None:
    tenant = await world.tenant(credits=10)
    entries = [world.entry(f"refund:{n}", 1) for n in range(12)]

    async def book(some: list[Entry]) -> int:
        async with world.work(tenant) as w:
            return await w.credits.book(*some)

    results = answers(await together(*(book(entries if n % 2 else entries[::-1]) for n in range(6))))
    assert sum(results) == 12
    assert await balance(world, tenant) == (22, 22)


async def test_accounts_are_the_same_credits_from_outside(world: World) -> None:
    one, two = await world.tenant(credits=5), await world.tenant(credits=5)
    async with world.system() as s:
        assert await s.accounts.book(one, world.entry("refund:x", 1)) == 1
        assert await s.accounts.book(one, world.entry("refund:x", 1)) == 0
        assert await s.accounts.book(two, world.entry("refund:x", 1), world.entry("refund:y", 1)) == 2
        with pytest.raises(InsufficientCredits):
            await s.accounts.book(one, world.entry("debit", -7))
    assert await balance(world, one) == (6, 6)
    assert await balance(world, two) == (7, 7)


@given(
    movements=st.lists(
        st.lists(st.tuples(st.integers(0, 8), st.integers(-6, 6)), min_size=1, max_size=4), min_size=1, max_size=6
    )
)
@settings(max_examples=25)
async def test_the_balance_is_the_sum_of_the_entries(world: World, movements: list[list[tuple[int, int]]]) -> None:
    tenant = await world.tenant(credits=5)
    booked = {"grant": 5}
    for batch in movements:
        new: dict[str, int] = {}
        for key, amount in batch:
            if str(key) not in booked:
                new.setdefault(str(key), amount)
        moved = sum(new.values())
        try:
            async with world.work(tenant) as w:
                got = await w.credits.book(*(world.entry(str(key), amount) for key, amount in batch))
        except InsufficientCredits:
            assert sum(booked.values()) + moved < 0
        else:
            assert got == moved
            booked |= new
        assert await balance(world, tenant) == (sum(booked.values()), sum(booked.values()))
    async with world.work(tenant) as w:
        assert {e.key: e.amount for e in await w.credits.entries(limit=99)} == booked


async def test_an_entry_of_another_tenant_with_the_same_key_is_another_entry(world: World) -> None:
    one, two = await world.tenant(credits=5), await world.tenant(credits=7)
    async with world.work(one) as w:
        assert [e.amount for e in await w.credits.entries()] == [5]
    assert await balance(world, two) == (7, 7)
