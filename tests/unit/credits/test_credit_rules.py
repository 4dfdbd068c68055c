from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tenants.shop import open_shop

from callboard.credits import rules
from callboard.credits.model import EntryKind
from callboard.credits.service import CreditService
from callboard.errors import InvalidInput
from callboard.ids import MessageId, RunId

NOW = datetime(2026, 11, 20, tzinfo=UTC)
RUN = RunId(UUID(int=5))


@given(
    st.integers(1, 50).flatmap(
        lambda n: st.tuples(
            st.just(n), st.sets(st.integers(1, n)), st.sets(st.integers(1, n)), st.sets(st.integers(1, n))
        )
    )
)
def test_the_entries_of_a_run_sum_to_minus_the_credits_its_messages_hold(
    case: tuple[int, set[int], set[int], set[int]],
) -> None:
    recipients, cancelled, refunded, late = case
    refunded -= cancelled
    booked = {rules.debited(RUN, recipients, now=NOW)}
    if cancelled:
        booked.add(rules.cancelled(RUN, len(cancelled), now=NOW))
    for seq in refunded:
        booked.add(rules.refunded(MessageId(RUN, seq), reason="refused", now=NOW))
        booked.add(rules.refunded(MessageId(RUN, seq), reason="refused", now=NOW))  # twice is once: the key is one
    booked |= {rules.written_off(MessageId(RUN, seq), now=NOW) for seq in late & refunded}
    held = recipients - len(cancelled) - len(refunded)
    assert sum(entry.amount for entry in booked) == -held
    assert len({entry.key for entry in booked}) == len(booked)
    assert {entry.run_id for entry in booked} == {RUN}


def test_the_keys_are_those_of_decision_4() -> None:
    message = MessageId(RUN, 3)
    assert rules.debited(RUN, 1, now=NOW).key == f"debit:{RUN.hex}"
    assert rules.cancelled(RUN, 1, now=NOW).key == f"cancel:{RUN.hex}"
    assert rules.refunded(message, reason="x", now=NOW).key == f"refund:{message}"
    late = rules.written_off(message, now=NOW)
    assert (late.key, late.amount, late.kind) == (f"writeoff:{message}", 0, EntryKind.WRITEOFF)


@pytest.mark.parametrize("amount", [0, -1, 1_000_000_001, 2**63, 2**70])
async def test_a_grant_is_positive_and_bounded(amount: int) -> None:
    shop = await open_shop()
    service = CreditService(work=shop.store.work, clock=shop.clock, ids=shop.ids)
    with pytest.raises(InvalidInput) as caught:
        await service.grant(shop.tenant, amount)
    assert caught.value.field == "amount"
    assert await service.balance(shop.tenant) == 0


async def test_grants_add_up_and_stay_with_their_tenant() -> None:
    shop = await open_shop()
    service = CreditService(work=shop.store.work, clock=shop.clock, ids=shop.ids)
    assert await service.grant(shop.tenant, 100, reason="welcome") == 100
    assert await service.grant(shop.tenant, 50) == 150
    assert await service.balance(shop.other) == 0
    assert [entry.amount for entry in await service.entries(shop.tenant)] == [50, 100]
