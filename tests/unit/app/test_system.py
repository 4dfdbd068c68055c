"""Ids, time, pauses and the installation's secret."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from callboard_adapters.system import AsyncioPauses, SystemClock, Uuid7Ids
from callboard_app.secret_key import FILE_NAME, derive, secret_key
from callboard_app.settings import SettingsError, load


def test_the_clock_is_aware_and_in_utc() -> None:
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)


def test_ids_are_version_7_unique_and_ordered_by_time() -> None:
    ids = Uuid7Ids()
    first = ids.new()
    time.sleep(0.003)
    many = [ids.new() for _ in range(2_000)]
    assert {i.version for i in many} == {7}
    assert len(set(many)) == 2_000
    assert all(first < i for i in many)


def test_tokens_have_the_entropy_asked_for_and_are_url_safe() -> None:
    tokens = {Uuid7Ids().token(9) for _ in range(1_000)}
    assert len(tokens) == 1_000
    assert all(
        len(t) == 12 and set(t) <= set("-_") | set(map(chr, [*range(48, 58), *range(65, 91), *range(97, 123)]))
        for t in tokens
    )
    assert len(Uuid7Ids().token(24)) == 32


async def test_a_pause_lasts_as_long_as_it_says() -> None:
    began = time.monotonic()
    await AsyncioPauses().sleep(0.05)
    assert 0.04 < time.monotonic() - began < 2


def test_racing_processes_agree_on_one_secret(tmp_path: Path) -> None:
    settings = load({"CALLBOARD_DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}"})
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: secret_key(settings), range(64)))
    assert len(found) == 1
    assert len(found.pop()) >= 48
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]


def test_the_variable_wins_and_production_takes_no_weak_or_missing_one(tmp_path: Path) -> None:
    database = {"CALLBOARD_DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}"}
    assert secret_key(load({**database, "CALLBOARD_SECRET_KEY": "dev"})) == b"dev"
    assert not list(tmp_path.iterdir())
    for given in ({}, {"CALLBOARD_SECRET_KEY": "x" * 31}):
        with pytest.raises(SettingsError, match="CALLBOARD_SECRET_KEY"):
            secret_key(load({**database, "CALLBOARD_ENV": "production", **given}))
    assert not list(tmp_path.iterdir())
    strong = {"CALLBOARD_ENV": "production", "CALLBOARD_SECRET_KEY": "x" * 32}
    assert secret_key(load({**database, **strong})) == b"x" * 32


def test_what_is_made_for_one_purpose_is_of_no_use_for_another() -> None:
    made = {derive(b"key", purpose) for purpose in ("a", "b", "c")} | {derive(b"other", "a")}
    assert len(made) == 4
    assert derive(b"key", "a") == derive(b"key", "a")
    assert all(len(value) == 32 for value in made)
