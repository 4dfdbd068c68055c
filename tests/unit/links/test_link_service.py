from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

import pytest
from tests.unit.tenants.shop import Shop, open_shop

from callboard.contacts.model import Consent, ConsentSource, Contact
from callboard.contacts.service import ContactChanges, ContactService
from callboard.errors import Gone, NotFound
from callboard.ids import CampaignId, ContactId
from callboard.links.model import Link
from callboard.links.rules import unsubscribe_token
from callboard.links.service import LinkService
from callboard.values import Phone

KEY = b"a secret of this installation"
CAMPAIGN = CampaignId(UUID(int=8))
TOKEN = "AAAAbbbbCCCC"
BROWSER = "Mozilla/5.0 (Linux; Android 15)"


def links(shop: Shop, *, production: bool = False, allowed: frozenset[str] = frozenset()) -> LinkService:
    return LinkService(
        system=shop.store.system,
        work=shop.store.work,
        clock=shop.clock,
        unsubscribe_keys=(KEY,),
        production=production,
        allowed_hosts=allowed,
    )


async def with_link(url: str, *, days: int | None = None) -> Shop:
    shop = await open_shop()
    now = shop.clock.now()
    link = Link(
        token=TOKEN,
        tenant_id=shop.tenant,
        url=url,
        campaign_id=CAMPAIGN,
        created_at=now,
        expires_at=None if days is None else now + timedelta(days=days),
    )
    async with shop.store.work(shop.tenant) as w:
        await w.links.add(link)
    return shop


async def person(shop: Shop) -> Contact:
    service = ContactService(work=shop.store.work, clock=shop.clock, ids=shop.ids)
    changes = ContactChanges(phone=Phone("+919876543210"), consent=Consent.OPTED_IN)
    return await service.create(shop.tenant, changes)


async def test_a_short_link_leads_to_its_destination_and_people_are_counted() -> None:
    shop = await with_link("https://shop.example/sale")
    service = links(shop)
    for agent, method in ((BROWSER, "GET"), (BROWSER, "HEAD"), ("WhatsApp/2.0", "GET"), (BROWSER, "GET")):
        visit = await service.resolve(TOKEN, agent=agent, method=method)
        assert visit.url == "https://shop.example/sale"
        if visit.click is not None:
            assert visit.click == (shop.tenant, TOKEN, date(2026, 1, 5))
            await service.count({visit.click: 1})
    async with shop.store.work(shop.tenant) as w:
        assert await w.links.clicks(CAMPAIGN) == 2


@pytest.mark.parametrize("token", ["unknown-token", "", "x", "..%2f", "a" * 10_000, "\x00" * 12, "ü" * 12])
async def test_an_unknown_link_is_not_found(token: str) -> None:
    shop = await with_link("https://shop.example/sale")
    with pytest.raises(NotFound):
        await links(shop).resolve(token, agent=BROWSER, method="GET")


async def test_an_expired_link_is_gone() -> None:
    shop = await with_link("https://shop.example/sale", days=3)
    assert (await links(shop).resolve(TOKEN, agent=BROWSER, method="GET")).url
    shop.clock.advance(timedelta(days=3))
    with pytest.raises(Gone):
        await links(shop).resolve(TOKEN, agent=BROWSER, method="GET")


async def test_destinations_are_checked_again_when_followed() -> None:
    shop = await with_link("http://shop.example/sale")
    with pytest.raises(NotFound):
        await links(shop, production=True).resolve(TOKEN, agent=BROWSER, method="GET")
    with pytest.raises(NotFound):
        await links(shop, allowed=frozenset({"other.example"})).resolve(TOKEN, agent=BROWSER, method="GET")
    assert (await links(shop, allowed=frozenset({"shop.example"})).resolve(TOKEN, agent=BROWSER, method="GET")).url


async def test_looking_at_the_unsubscribe_page_changes_nothing_and_posting_opts_out_once() -> None:
    shop = await open_shop()
    service = links(shop)
    contact = await person(shop)
    token = unsubscribe_token(contact.id, KEY)
    service.check_unsubscribe(token)
    contacts = ContactService(work=shop.store.work, clock=shop.clock, ids=shop.ids)
    assert (await contacts.get(shop.tenant, contact.id)).consent is Consent.OPTED_IN
    assert await service.unsubscribe(token) is True
    assert await service.unsubscribe(token) is False
    assert (await contacts.get(shop.tenant, contact.id)).consent is Consent.OPTED_OUT
    async with shop.store.work(shop.tenant) as w:
        history = await w.contacts.consent_history("+919876543210")
        assert await w.contacts.suppressed(["+919876543210"])
    assert history[-1].source is ConsentSource.UNSUBSCRIBE_LINK


async def test_unsubscribe_tokens_do_not_die_of_age() -> None:
    shop = await open_shop()
    token = unsubscribe_token((await person(shop)).id, KEY)
    shop.clock.advance(timedelta(days=3_650))
    assert await links(shop).unsubscribe(token) is True


async def test_an_unsubscribe_link_outlives_its_contact() -> None:
    shop = await open_shop()
    contact = await person(shop)
    contacts = ContactService(work=shop.store.work, clock=shop.clock, ids=shop.ids)
    await contacts.delete(shop.tenant, contact.id)
    assert await links(shop).unsubscribe(unsubscribe_token(contact.id, KEY)) is True
    async with shop.store.work(shop.tenant) as w:
        assert await w.contacts.suppressed(["+919876543210"])
    async with shop.store.work(shop.other) as other:
        assert not await other.contacts.suppressed(["+919876543210"])


async def test_forged_and_foreign_unsubscribe_tokens_change_nothing() -> None:
    shop = await open_shop()
    contact = await person(shop)
    service = links(shop)
    forged = unsubscribe_token(contact.id, b"guess")
    nobody = unsubscribe_token(ContactId(UUID(int=404)), KEY)
    for token in (forged, nobody, "", "x" * 32):
        with pytest.raises(NotFound):
            await service.unsubscribe(token)
    with pytest.raises(NotFound):
        service.check_unsubscribe(forged)
    async with shop.store.work(shop.tenant) as w:
        assert not await w.contacts.suppressed(["+919876543210"])
