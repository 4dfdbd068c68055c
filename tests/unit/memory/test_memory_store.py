"""The in-memory store's own promises: transactions under crashes and interleaving, ids, clocks, and what it imports."""

from __future__ import annotations

import ast
import asyncio
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import callboard_adapters.memory
from callboard.automations import ports as automations
from callboard.campaigns import ports as campaigns
from callboard.clock import Clock, Pauses
from callboard.contacts import ports as contacts
from callboard.contacts.model import Consent, Contact
from callboard.credits.model import Entry, EntryKind
from callboard.delivery import ports as delivery
from callboard.errors import NotConfigured, NotFound, Unavailable
from callboard.ids import ContactId, Ids, MessageId, RunId, TenantId
from callboard.links import ports as links
from callboard.messages import ports as messages
from callboard.messages.model import Content, Fact, Reason
from callboard.messages.ports import Accepted, Ambiguous, Outbound, Refused
from callboard.segments import ports as segments
from callboard.tenants import ports as tenants
from callboard.tenants.model import Channel, Tenant
from callboard.values import Phone
from callboard.work import OpenSystemWork, OpenWork
from callboard_adapters.memory import (
    Checkpoint,
    CountingIds,
    FixedClock,
    ManualClock,
    MemoryChannel,
    MemoryChannels,
    MemoryHints,
    MemoryStore,
    NoPauses,
    RandomIds,
    in_turn,
)
from callboard_adapters.memory.journal import Journal, Rows
from callboard_adapters.memory.scope import no_checkpoint

T = TypeVar("T")
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
TENANT = TenantId(UUID(int=1))


class Crash(Exception):
    """The process is killed here."""


def drive(coroutine: Coroutine[Any, Any, T], turns: int = 1_000_000) -> T:
    """Run a coroutine by hand, without an event loop."""
    for _ in range(turns):
        try:
            coroutine.send(None)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
    raise AssertionError("it never ended")


async def a_store(checkpoint: Checkpoint = no_checkpoint, *, patience: int = 1_000) -> MemoryStore:
    store = MemoryStore(clock=FixedClock(NOON), ids=CountingIds(), checkpoint=checkpoint, patience=patience)
    async with store.system() as s:
        await s.directory.create(Tenant(id=TENANT, slug="s", name="S", region="IN", timezone="UTC", created_at=NOON))
    return store


def an_entry(key: str, amount: int) -> Entry:
    return Entry(key=key, kind=EntryKind.GRANT, amount=amount, run_id=None, reason=None, at=NOON)


def a_contact(number: int) -> Contact:
    return Contact(
        id=ContactId(UUID(int=number)),
        phone=Phone(f"+91980000000{number}"),
        consent=Consent.OPTED_IN,
        created_at=NOON,
        updated_at=NOON,
    )


async def seen(store: MemoryStore) -> tuple[int, bool, dict[str, str]]:
    """What the three writes of :func:`write` left behind."""
    async with store.work(TENANT) as w:
        contact = await w.contacts.by_phone("+919800000001")
        return await w.credits.balance(), contact is not None, dict(await w.settings.all())


async def write(store: MemoryStore) -> None:
    async with store.work(TENANT) as w:
        await w.credits.book(an_entry("a", 5))
        await w.contacts.add(a_contact(1))
        await w.settings.put({"k": "v"})


NOTHING: tuple[int, bool, dict[str, str]] = (0, False, {})
EVERYTHING = (5, True, {"k": "v"})


def test_a_crash_at_any_point_leaves_all_or_nothing() -> None:
    moments: list[str] = []

    async def note(moment: str) -> None:
        moments.append(moment)

    async def count() -> None:
        store = await a_store(note)
        moments.clear()
        await write(store)

    drive(count())
    assert moments == [
        "before begin",
        "before credits.book",
        "after credits.book",
        "before contacts.add",
        "after contacts.add",
        "before settings.put",
        "after settings.put",
        "before commit",
        "after commit",
    ]
    for deadly in moments:
        expected = EVERYTHING if deadly == "after commit" else NOTHING
        assert drive(_killed_at(deadly)) == expected, deadly


async def _killed_at(deadly: str) -> tuple[int, bool, dict[str, str]]:
    """What is left when the process dies at this moment of :func:`write`."""
    armed: list[str] = []

    async def kill(moment: str) -> None:
        if moment in armed:
            raise Crash

    store = await a_store(kill)
    armed.append(deadly)
    with pytest.raises(Crash):
        await write(store)
    armed.clear()
    return await seen(store)


def test_a_coroutine_that_is_closed_in_the_middle_is_rolled_back() -> None:
    class Suspend:
        def __await__(self) -> Any:
            yield

    async def suspend(moment: str) -> None:
        if moment == "after contacts.add":
            await Suspend()

    store = drive(a_store(suspend))
    story = write(store)
    story.send(None)  # it hangs in the checkpoint, with two writes done
    story.close()
    assert drive(seen(store)) == NOTHING


def test_a_unit_of_work_waits_until_the_one_before_has_ended() -> None:
    order: list[str] = []

    class Suspend:
        def __await__(self) -> Any:
            yield

    async def suspend(moment: str) -> None:
        await Suspend()

    async def add_one(store: MemoryStore, name: str) -> None:
        async with store.work(TENANT) as w:
            order.append(f"{name} in")
            stored = (await w.settings.all()).get("n", "0")
            await w.settings.put({"n": str(int(stored) + 1)})
            order.append(f"{name} out")

    store = drive(a_store(suspend))
    running = {name: add_one(store, name) for name in "abc"}
    while running:
        for name, coroutine in list(running.items()):
            try:
                coroutine.send(None)
            except StopIteration:
                del running[name]
    assert order == ["a in", "a out", "b in", "b out", "c in", "c out"]
    assert drive(_setting(store, "n")) == "3"


async def _setting(store: MemoryStore, name: str) -> str | None:
    async with store.work(TENANT) as w:
        return (await w.settings.all()).get(name)


def test_the_same_holds_under_asyncio() -> None:
    async def give_way(moment: str) -> None:
        await asyncio.sleep(0)

    async def story() -> int:
        store = await a_store(give_way, patience=1_000_000)

        async def add_one() -> None:
            async with store.work(TENANT) as w:
                balance = await w.credits.balance()
                await w.credits.book(an_entry(str(balance), 1))

        await asyncio.gather(*(add_one() for _ in range(20)))
        async with store.work(TENANT) as w:
            return await w.credits.balance()

    assert asyncio.run(story()) == 20


def test_a_waiter_that_goes_away_does_not_block_the_others() -> None:
    async def story() -> tuple[int, bool, dict[str, str]]:
        store = await a_store(patience=1_000_000)
        async with store.work(TENANT):
            waiter = asyncio.create_task(write(store))
            await asyncio.sleep(0.01)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
        return await seen(store)

    assert asyncio.run(story()) == NOTHING


def test_a_unit_of_work_inside_another_is_refused_instead_of_hanging() -> None:
    async def story() -> tuple[int, bool, dict[str, str]]:
        store = await a_store()
        with pytest.raises(Unavailable):
            async with store.work(TENANT) as w:
                await w.settings.put({"k": "v"})
                async with store.system():
                    pytest.fail("two units of work at once")
        return await seen(store)

    assert drive(story()) == NOTHING


def test_an_unknown_tenant_leaves_the_store_free() -> None:
    async def story() -> None:
        store = await a_store()
        with pytest.raises(NotFound):
            async with store.work(TenantId(UUID(int=9))):
                pytest.fail("it opened")
        await write(store)

    drive(story())


def test_a_repository_is_dead_after_its_unit_of_work() -> None:
    async def story() -> None:
        store = await a_store()
        async with store.work(TENANT) as w:
            settings = w.settings
        with pytest.raises(RuntimeError, match=r"settings\.put"):
            await settings.put({"k": "v"})
        unit = store.work(TENANT)
        async with unit:
            pass
        with pytest.raises(RuntimeError):
            async with unit:
                pytest.fail("it opened twice")

    drive(story())


STEPS = st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 5)), max_size=12)


@given(kept=STEPS, undone=STEPS)
def test_a_rollback_restores_every_row(
    kept: list[tuple[int, int | None]], undone: list[tuple[int, int | None]]
) -> None:
    journal = Journal()
    rows: Rows[int, int] = Rows(journal)
    other: Rows[int, int] = Rows(journal)

    def do(steps: list[tuple[int, int | None]]) -> None:
        for key, value in steps:
            if value is None:
                rows.drop(key)
            else:
                rows.put(key, value)
                other.put(value, key)

    do(kept)
    journal.commit()
    before = dict(rows), dict(other)
    do(undone)
    journal.rollback()
    assert (dict(rows), dict(other)) == before
    journal.rollback()
    assert (dict(rows), dict(other)) == before


# --- ids, clocks, channels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [CountingIds(), CountingIds(4_000), RandomIds()], ids=["counting", "later", "random"])
def test_ids_are_unique_version_7(ids: Ids) -> None:
    made = [ids.new() for _ in range(300)]
    assert len(set(made)) == 300
    assert {u.version for u in made} == {7}
    assert {u.variant for u in made} == {"specified in RFC 4122"}
    tokens = [ids.token(n) for n in (8, 9, 16) for _ in range(50)]
    assert len(set(tokens)) == 150
    assert all(len(t) * 6 >= 64 for t in tokens)


def test_counted_ids_ascend_and_repeat() -> None:
    one, two = CountingIds(4_090), CountingIds(4_090)
    made = [one.new() for _ in range(20)]
    assert made == sorted(made)
    assert made == [two.new() for _ in range(20)]


def test_clocks_tell_utc_and_only_move_forward() -> None:
    clock = ManualClock(NOON)
    clock.advance(timedelta(hours=1))
    assert clock.now() == NOON + timedelta(hours=1)
    with pytest.raises(ValueError, match="back"):
        clock.advance(timedelta(seconds=-1))
    with pytest.raises(ValueError, match="UTC"):
        FixedClock(NOON.astimezone(timezone(timedelta(hours=2))))
    pauses = NoPauses(clock)
    drive(pauses.sleep(60))
    drive(pauses.sleep(-1))
    assert clock.now() == NOON + timedelta(hours=1, minutes=1)
    assert pauses.slept == [60, -1]


def a_message(seq: int) -> Outbound:
    content = Content(channel=Channel.SMS, text="x", values={}, unsubscribe_base=None)
    return Outbound(reference=MessageId(RunId(UUID(int=7)), seq), to=f"+91980000000{seq}", text="x", content=content)


def test_a_channel_answers_from_its_script_and_keeps_what_it_took() -> None:
    refused = Refused(reason=Reason.REFUSED, provider_code="1")
    channel = MemoryChannel(script=in_turn(None, refused, Ambiguous()))
    batch = [a_message(seq) for seq in range(1, 5)]
    answers = drive(channel.send(batch))
    assert answers == [
        Accepted(provider_message_id="memory-1"),
        refused,
        Ambiguous(),
        Accepted(provider_message_id="memory-2"),
    ]
    assert channel.asked == batch
    assert [m.reference.seq for _, m in channel.accepted] == [1, 4]
    receipts = channel.receipts(Fact.SENT, at=NOON)
    assert [(r.provider_message_id, r.message_id, r.fact) for r in receipts] == [
        ("memory-1", batch[0].reference, Fact.SENT),
        ("memory-2", batch[3].reference, Fact.SENT),
    ]


def test_a_call_that_is_cut_off_may_have_reached_the_provider() -> None:
    async def cut(moment: str) -> None:
        if moment == "after channel.send":
            raise Crash

    channel = MemoryChannel(checkpoint=cut)
    with pytest.raises(Crash):
        drive(channel.send([a_message(1)]))
    assert len(channel.accepted) == 1


def test_channels_are_found_by_tenant_then_for_everybody() -> None:
    own, shared = MemoryChannel(name="own"), MemoryChannel(name="shared")
    channels = MemoryChannels(shared={Channel.SMS: shared}, own={(TENANT, Channel.SMS): own})
    assert drive(channels.client(TENANT, Channel.SMS)) is own
    assert drive(channels.client(TenantId(UUID(int=2)), Channel.SMS)) is shared
    with pytest.raises(NotConfigured):
        drive(channels.client(TENANT, Channel.WHATSAPP))


def test_hints_are_written_down() -> None:
    hints = MemoryHints()
    for queue, *arguments in (("deliver", "1"), ("dispatch",), ("deliver", "2")):
        drive(hints.wake(queue, *arguments))
    assert hints.take("deliver") == [("1",), ("2",)]
    assert hints.take("deliver") == []
    assert hints.heard == [("dispatch", ())]


# --- shape --------------------------------------------------------------------------------------------------------


def test_the_store_is_every_port_of_the_core() -> None:
    """mypy is the judge of this one; at run time it says that nothing is missing by name."""
    store = MemoryStore(clock=FixedClock(), ids=CountingIds())
    opens: list[OpenWork[Any]] = []
    work_1: OpenWork[campaigns.Work] = store.work
    work_2: OpenWork[messages.Work] = store.work
    work_3: OpenWork[contacts.Work] = store.work
    work_4: OpenWork[segments.Work] = store.work
    work_5: OpenWork[tenants.Work] = store.work
    work_6: OpenWork[automations.Work] = store.work
    work_7: OpenWork[delivery.Work] = store.work
    system_1: OpenSystemWork[messages.SystemWork] = store.system
    system_2: OpenSystemWork[delivery.SystemWork] = store.system
    system_3: OpenSystemWork[tenants.SystemWork] = store.system
    system_4: OpenSystemWork[links.SystemWork] = store.system
    channel: messages.ChannelClient = MemoryChannel()
    channels: messages.Channels = MemoryChannels()
    hints: messages.Hints = MemoryHints()
    clock: Clock = ManualClock()
    pauses: Pauses = NoPauses()
    opens += [work_1, work_2, work_3, work_4, work_5, work_6, work_7]
    assert [system_1, system_2, system_3, system_4] == [store.system] * 4
    assert opens == [store.work] * 7
    assert all((channel, channels, hints, clock, pauses))


def test_it_imports_the_core_and_the_standard_library_only_and_no_asyncio() -> None:
    folder = Path(callboard_adapters.memory.__file__).parent
    roots = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                roots |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                assert node.module is not None
                roots.add(node.module.partition(".")[0])
                if node.module.startswith("callboard_adapters"):
                    assert node.module.startswith("callboard_adapters.memory")
    assert "asyncio" not in roots
    assert roots - set(sys.stdlib_module_names) == {"attrs", "callboard", "callboard_adapters"}
