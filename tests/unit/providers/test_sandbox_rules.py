"""The twin's own rules: buckets, settings, faults and magic numbers."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard_adapters.sandbox import (
    CallbackConfig,
    MittoConfig,
    NumberConfig,
    SandboxConfig,
    TemplateConfig,
    WhatsAppConfig,
)
from callboard_adapters.sandbox.clock import Buckets, TwinClock
from callboard_adapters.sandbox.cloud import MAGIC as WHATSAPP_MAGIC
from callboard_adapters.sandbox.config import patched
from callboard_adapters.sandbox.faults import Faults, FaultSpec, Kind
from callboard_adapters.sandbox.journal import Journal, shown
from callboard_adapters.sandbox.mitto import MAGIC as SMS_MAGIC


def test_a_pair_bucket_takes_45_at_once_then_one_each_six_seconds() -> None:
    buckets = Buckets()
    taken = [buckets.take("p", every=6, burst=45, now=1000.0) for _ in range(50)]
    assert taken[:45] == [0.0] * 45
    assert all(wait == pytest.approx(6.0) for wait in taken[45:])
    assert buckets.take("p", every=6, burst=45, now=1005.9) > 0
    assert buckets.take("p", every=6, burst=45, now=1006.0) == 0
    assert buckets.take("p", every=6, burst=45, now=1006.0) > 0
    assert buckets.take("q", every=6, burst=45, now=1006.0) == 0


@given(st.lists(st.floats(0, 3), min_size=1, max_size=200), st.floats(0.01, 2), st.integers(1, 50))
def test_a_bucket_never_lets_more_through_than_burst_and_rate(gaps: list[float], every: float, burst: int) -> None:
    buckets, now, taken = Buckets(), 0.0, 0
    for gap in gaps:
        now += gap
        taken += buckets.take("k", every=every, burst=burst, now=now) == 0
        assert taken <= burst + now / every + 1e-3


def test_full_buckets_are_forgotten_and_running_ones_kept() -> None:
    buckets = Buckets(sweep_at=10)
    for n in range(10):
        buckets.take(str(n), every=1, burst=1, now=0.0)
    buckets.take("x", every=1, burst=1, now=5.0)
    assert buckets.take("x", every=1, burst=1, now=5.0) > 0
    assert buckets.take("3", every=1, burst=1, now=5.0) == 0


def test_time_moves_forward_when_told() -> None:
    clock = TwinClock()
    before = clock.now()
    clock.advance(3600)
    assert 3600 <= clock.now() - before < 3610


def test_a_patch_changes_what_it_names_and_nothing_else() -> None:
    config = SandboxConfig()
    other = patched(config, {"sms": {"delivery_url": "http://x", "callbacks": {"delay_ms": [1, 2]}}})
    assert other.sms.delivery_url == "http://x"
    assert other.sms.callbacks.delay_ms == (1.0, 2.0)
    assert other.sms.callbacks.batch == config.sms.callbacks.batch
    assert other.whatsapp == config.whatsapp
    assert config == SandboxConfig()
    numbers = patched(config, {"whatsapp": {"numbers": {"1": {"token": "t"}}}}).whatsapp.numbers
    assert numbers == {"1": NumberConfig(token="t")}


@pytest.mark.parametrize(
    "patch",
    [{"nope": 1}, {"sms": {"nope": 1}}, {"sms": 5}, {"sms": {"callbacks": {"drop": 2}}}, {"journal": "half"}],
)
def test_a_bad_patch_is_refused(patch: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        patched(SandboxConfig(), patch)


def test_configurations_survive_json() -> None:
    config = patched(SandboxConfig(), {"whatsapp": {"numbers": {"1": {}}}, "sms": {"keys": ["a"]}})
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(config)), SandboxConfig) == config


def hits(spec: FaultSpec, n: int = 7) -> list[bool]:
    faults = Faults()
    faults.add(spec)
    return [faults.pick("sms", "send", {"to": "+1234567", "text": "big sale"}) is not None for _ in range(n)]


def test_next_every_always_and_the_default() -> None:
    assert hits(FaultSpec(kind="status")) == [True] + [False] * 6
    assert hits(FaultSpec(kind="status", next=2)) == [True, True] + [False] * 5
    assert hits(FaultSpec(kind="status", every=3)) == [False, False, True, False, False, True, False]
    assert hits(FaultSpec(kind="status", always=True)) == [True] * 7


@pytest.mark.parametrize(
    ("spec", "hit"),
    [
        (FaultSpec(kind="status", provider="whatsapp"), False),
        (FaultSpec(kind="status", endpoint="read"), False),
        (FaultSpec(kind="status", endpoint="any"), True),
        (FaultSpec(kind="reject"), False),  # only for entries
        (FaultSpec(kind="status", match={"to": "+1234567"}), True),
        (FaultSpec(kind="status", match={"to": "+123"}), False),
        (FaultSpec(kind="status", match={"to_suffix": "567"}), True),
        (FaultSpec(kind="status", match={"text_contains": "sale", "to_suffix": "8"}), False),
        (FaultSpec(kind="status", match={"template": "x"}), False),
    ],
)
def test_a_fault_hits_what_it_names(spec: FaultSpec, hit: bool) -> None:
    assert hits(spec, 1) == [hit]


def test_a_call_that_does_not_match_uses_up_nothing() -> None:
    faults = Faults()
    rule = faults.add(FaultSpec(kind="status", next=1, match={"to": "+2"}))
    assert faults.pick("sms", "send", {"to": "+1"}) is None
    assert faults.pick("sms", "send", {"to": "+2"}) is rule.spec
    assert faults.pick("sms", "send", {"to": "+2"}) is None
    assert (rule.hits, rule.seen) == (1, 2)


def test_the_same_endings_mean_the_same_kind_of_trouble_at_every_provider() -> None:
    assert set(SMS_MAGIC) == set(WHATSAPP_MAGIC)
    for table in (SMS_MAGIC, WHATSAPP_MAGIC):
        for ending, fate in table.items():
            assert ending.startswith("999")
            assert len(ending) == 7
            assert fate.says
            assert fate.plan is not None or fate.fault is not None
    for ending in ("9990006", "9990007", "9990008"):
        assert SMS_MAGIC[ending].plan == WHATSAPP_MAGIC[ending].plan


def test_the_journal_counts_duplicates_and_pages_by_number() -> None:
    journal = Journal("full")
    for n, (to, reference) in enumerate([("+1", "a"), ("+1", "b"), ("+1", "a"), ("+2", None)]):
        journal.accept(
            1.0, "POST", "/p", [(b"x-y", b"\xff")], b'{"a":1}' if n else b"\xff{", to, "t", reference, "i", None
        )
    assert [e.n for e in journal.received(2, None)] == [3, 4]
    assert [e.n for e in journal.received(0, 3)] == [1, 2, 3]
    assert journal.received(9, None) == []
    stats = journal.stats()
    assert (stats["accepted"], stats["duplicate_references"], stats["duplicate_texts"]) == (4, 1, 2)
    first, second = shown(journal.received(0, 2))
    assert (first["body"], second["body"]) == ("\ufffd{", {"a": 1})
    assert first["headers"] == {"x-y": "ÿ"}


def test_the_manual_lists_every_magic_number_fault_and_setting() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text()
    for ending in SMS_MAGIC:
        assert f"| {ending} |" in manual
    for kind in get_args(Kind):
        assert f"`{kind}`" in manual
    for config in (SandboxConfig, MittoConfig, WhatsAppConfig, CallbackConfig, NumberConfig, TemplateConfig):
        for name in config.__struct_fields__:
            assert name in manual, name
