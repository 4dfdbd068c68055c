"""A marketing message that cannot carry a way out does not leave, whatever made the link impossible."""

from __future__ import annotations

import attrs
import pytest
from tests.unit.messages.shop import Shop

from callboard.messages.model import Reason, State


@pytest.mark.parametrize("text", ["Hello", "Hello {{unsubscribeUrl}}", "Hello {{unsubscribeUrl|nobody}}"])
async def test_without_an_unsubscribe_address_nothing_leaves_and_every_credit_comes_back(text: str) -> None:
    shop = await Shop(credits=10).open(people=3)
    shop.rounds = attrs.evolve(shop.rounds, unsubscribe_links="")
    shop.campaigns = attrs.evolve(shop.campaigns, rounds=shop.rounds)
    campaign = await shop.campaign(text)
    run = (await shop.campaigns.enqueue(shop.tenant, campaign.id)).run_id
    await shop.dispatch()
    assert shop.provider.asked == []
    rows = await shop.rows(run)
    assert {(row.state, row.reason) for row in rows} == {(State.SKIPPED, Reason.MISSING_VARIABLE)}
    assert await shop.balance() == 10
