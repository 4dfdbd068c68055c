"""Preview = campaign preview = queued = debited = sent, whichever way the audience is written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.invariants.street import Street

from callboard.contacts.model import Consent, Gender

YOUNG = (datetime.now(UTC) - timedelta(days=20 * 365)).date()
OLD = (datetime.now(UTC) - timedelta(days=60 * 365)).date()


async def people(street: Street) -> dict[str, set[str]]:
    """Men, women and others of two ages, some of whom may not be written to; expected phones by a plain reading."""
    willing: dict[str, set[str]] = {"all": set(), "male": set(), "female": set(), "young": set(), "listed": set()}
    listed = []
    number = 9_600_000_000
    for gender in (Gender.MALE, Gender.MALE, Gender.FEMALE, None):
        for born in (YOUNG, OLD, None):
            for consent in (Consent.OPTED_IN, Consent.OPTED_OUT, Consent.UNKNOWN):
                number += 1
                phone = f"+91{number}"
                contact = await street.contact(phone, gender=gender, birth_date=born, consent=consent, first_name="A")
                on_list = number % 2 == 0
                if on_list:
                    listed.append(str(contact.id))
                if consent is Consent.OPTED_IN:
                    willing["all"].add(phone)
                    for name, member in {
                        "male": gender is Gender.MALE,
                        "female": gender is Gender.FEMALE,
                        "young": born is YOUNG,
                        "listed": on_list,
                    }.items():
                        if member:
                            willing[name].add(phone)
    made = await street.data("POST", "/audiences/segments", status=201, json={"name": "VIP", "contactIds": listed})
    assert made["name"] == "VIP"
    return willing


@pytest.mark.parametrize("written_on", ["create", "update"])
async def test_every_spelling_previews_queues_debits_and_sends_the_same_people(both: Street, written_on: str) -> None:
    willing = await people(both)
    assert len({len(phones) for phones in willing.values()}) > 3  # the groups differ: a mix-up shows
    segments = {s["name"] if s["type"] == "custom" else s["key"]: s["id"]
                for s in (await both.data("GET", "/audiences/segments"))["segments"]}  # fmt: skip
    spellings: list[tuple[Any, str, str | None]] = [("all", "all", None), ({"type": "all"}, "all", None)]
    spellings += [("men", "male", None), ("male", "male", None), ("women", "female", None), ("female", "female", None)]
    for key, group in {"gender_male": "male", "age_18_24": "young", "VIP": "listed"}.items():
        spellings += [(f"segment:{segments[key]}", group, segments[key])]
        spellings += [({"type": "segment", "segmentId": segments[key]}, group, segments[key])]
    seen = 0
    for number, (audience, group, segment) in enumerate(spellings):
        expected = willing[group]
        first = audience if written_on == "create" else "all"
        campaign = await both.campaign(f"c{number}", audience=first)
        if written_on == "update":
            await both.data("PUT", f"/campaigns/{campaign}", json={"audience": audience})
        if segment is not None:
            shown = await both.data("GET", f"/audiences/segments/{segment}/preview")
            assert shown["estimatedCount"] == len(expected), audience
        assert (await both.data("GET", f"/campaigns/{campaign}/preview"))["recipientCount"] == len(expected), audience
        enqueued = await both.enqueue(campaign)
        assert enqueued["queuedRecipients"] == enqueued["creditsDebited"] == len(expected), audience
        await both.work()
        sent = (await both.received())[seen:]
        seen += len(sent)
        assert sorted(entry["to"].removeprefix("+") for entry in sent) == sorted(p[1:] for p in expected), audience
    await both.check_books()


async def test_an_audience_nobody_understands_or_of_another_shop_is_refused_and_stores_nothing(shops: Street) -> None:
    await shops.contacts(3)
    foreign = (await shops.data("GET", "/audiences/segments", house=shops.theirs))["segments"][0]["id"]
    odd: list[Any] = ["everybody", "segment:", "segment:x", {"type": "segment"}, {"type": "men"}, {}, [], 5, "", None]
    odd += [foreign, f"segment:{foreign}", {"type": "segment", "segmentId": foreign}, {"segmentId": foreign}]
    for audience in odd:
        answer = await shops.call("POST", "/campaigns", json={"name": "x", "message": "m", "audience": audience})
        assert answer.status_code in {400, 404}, audience
    kept = await shops.campaign("kept", audience="men")
    for audience in odd[:-4]:
        answer = await shops.call("PUT", f"/campaigns/{kept}", json={"audience": audience})
        assert answer.status_code in {400, 404}, audience
    assert (await shops.data("GET", f"/campaigns/{kept}"))["audience"] == "men"
    assert len(await shops.data("GET", "/campaigns")) == 1


async def test_a_stored_audience_that_cannot_be_read_is_sent_to_nobody(both: Street) -> None:
    """A bare id, a form of another version: whatever a database may hold is an error and never everybody."""
    await both.contacts(3)
    segments = (await both.data("GET", "/audiences/segments"))["segments"]
    campaign = await both.campaign("stored", audience=f"segment:{segments[0]['id']}")
    identity = segments[0]["id"]
    odd: list[Any] = [identity, {"segmentId": identity}, {"type": "people"}, "", None, [], {}]
    for stored in odd:
        await both.sql("UPDATE campaigns SET audience = :a", a=json.dumps(stored))
        assert (await both.call("POST", f"/campaigns/{campaign}/enqueue")).status_code >= 400, stored
        await both.work()
    assert await both.sql("SELECT count(*) FROM messages") == [(0,)]
    assert await both.received() == []


async def test_a_segment_that_went_away_is_sent_to_nobody(both: Street) -> None:
    await both.contacts(3)
    made = await both.data("POST", "/audiences/segments", status=201, json={"name": "VIP", "criteria": {"tags": ["a"]}})
    campaign = await both.campaign("gone", audience={"type": "segment", "segmentId": made["id"]})
    await both.sql("DELETE FROM segments WHERE name = 'VIP'")
    assert (await both.call("POST", f"/campaigns/{campaign}/enqueue")).status_code in {400, 404}
    await both.work()
    assert await both.received() == []
    assert await both.credits() == 1_000
