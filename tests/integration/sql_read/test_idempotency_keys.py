"""Idempotency keys: one claim per key whatever races, the stored answer for everybody else, an end for the crashed."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.integration.sql_read.conftest import SECRET_KEY, Shop

from callboard.errors import Unavailable
from callboard_adapters.sql.idempotency import Fresh, InFlight, Replay, Reused, SqlIdempotency
from callboard_adapters.sql.work import SqlStore
from callboard_adapters.system import Uuid7Ids

WHERE = "store POST /campaigns/x/enqueue"
ONE, TWO = b"1" * 32, b"2" * 32
OVER = timedelta(seconds=-1)


@pytest.fixture
def keys(store: SqlStore) -> SqlIdempotency:
    return SqlIdempotency(store.engine)


async def test_the_first_call_goes_ahead_and_its_answer_is_everybodys(shop: Shop, keys: SqlIdempotency) -> None:
    assert await keys.begin(shop.id, WHERE, "k", ONE) == Fresh()
    assert await keys.begin(shop.id, WHERE, "k", ONE) == InFlight()
    assert await keys.begin(shop.id, WHERE, "k", TWO) == Reused()
    await keys.finish(shop.id, WHERE, "k", 201, b'{"\xc3\xa9":1}', "application/json")
    for _ in range(2):
        assert await keys.begin(shop.id, WHERE, "k", ONE) == Replay(201, b'{"\xc3\xa9":1}', "application/json")
    assert await keys.begin(shop.id, WHERE, "k", TWO) == Reused()


async def test_a_key_belongs_to_one_tenant_and_one_operation(open_shop: Any, keys: SqlIdempotency) -> None:
    one, two = await open_shop("one"), await open_shop("two")
    assert await keys.begin(one.id, WHERE, "k", ONE) == Fresh()
    assert await keys.begin(two.id, WHERE, "k", TWO) == Fresh()
    assert await keys.begin(one.id, "store POST /other", "k", TWO) == Fresh()
    await keys.finish(one.id, WHERE, "k", 200, b"one", "text/plain")
    assert await keys.begin(two.id, WHERE, "k", TWO) == InFlight()


async def test_exactly_one_of_many_racing_calls_goes_ahead(shop: Shop, keys: SqlIdempotency) -> None:
    answers = await asyncio.gather(*(keys.begin(shop.id, WHERE, "k", ONE) for _ in range(12)))
    assert Counter(type(answer) for answer in answers) == {Fresh: 1, InFlight: 11}


async def test_a_refused_call_frees_its_key_and_an_answered_one_keeps_it(shop: Shop, keys: SqlIdempotency) -> None:
    await keys.begin(shop.id, WHERE, "k", ONE)
    await keys.forget(shop.id, WHERE, "k")
    assert await keys.begin(shop.id, WHERE, "k", TWO) == Fresh()
    await keys.finish(shop.id, WHERE, "k", 200, b"", "text/plain")
    await keys.forget(shop.id, WHERE, "k")
    assert await keys.begin(shop.id, WHERE, "k", TWO) == Replay(200, b"", "text/plain")


async def test_a_crashed_call_ends_with_its_lease_for_the_same_body_only(shop: Shop, store: SqlStore) -> None:
    crashing, keys = SqlIdempotency(store.engine, lease=OVER), SqlIdempotency(store.engine)
    assert await crashing.begin(shop.id, WHERE, "k", ONE) == Fresh()
    assert await keys.begin(shop.id, WHERE, "k", TWO) == Reused()
    answers = await asyncio.gather(*(keys.begin(shop.id, WHERE, "k", ONE) for _ in range(6)))
    assert Counter(type(answer) for answer in answers) == {Fresh: 1, InFlight: 5}


async def test_a_late_first_answer_does_not_replace_the_seconds(shop: Shop, store: SqlStore) -> None:
    slow, keys = SqlIdempotency(store.engine, lease=OVER), SqlIdempotency(store.engine)
    await slow.begin(shop.id, WHERE, "k", ONE)
    await keys.begin(shop.id, WHERE, "k", ONE)
    await keys.finish(shop.id, WHERE, "k", 200, b"second", "text/plain")
    await slow.finish(shop.id, WHERE, "k", 200, b"first", "text/plain")
    assert await keys.begin(shop.id, WHERE, "k", ONE) == Replay(200, b"second", "text/plain")


async def test_an_answer_is_kept_for_its_time_and_purged_after_it(shop: Shop, store: SqlStore) -> None:
    keys, later = SqlIdempotency(store.engine), SqlIdempotency(store.engine, kept=timedelta(seconds=-1))
    for key in ("a", "b", "c"):
        await keys.begin(shop.id, WHERE, key, ONE)
        await keys.finish(shop.id, WHERE, key, 200, b"", "text/plain")
    assert await keys.purge() == 0
    assert await later.begin(shop.id, WHERE, "a", TWO) == Fresh()
    assert await later.purge(limit=2) == 2
    assert await later.purge() == 1
    assert await keys.begin(shop.id, WHERE, "b", TWO) == Fresh()


async def test_a_database_that_does_not_answer_is_unavailable() -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    async with SqlStore.open(url, ids=Uuid7Ids(), secret_key=SECRET_KEY) as closed:
        with pytest.raises(Unavailable):
            await SqlIdempotency(closed.engine).begin(Uuid7Ids().new(), WHERE, "k", ONE)  # type: ignore[arg-type]
