from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from tests.unit.tenants.shop import Shop, open_shop

from callboard.errors import AlreadyExists, Forbidden, InvalidInput, NotFound, Unauthenticated
from callboard.tenants import rules
from callboard.tenants.model import Surface
from callboard.tenants.service import KeyService, TenantService
from callboard_adapters.memory.ids import RandomIds

STORE = [Surface.STORE]


def keys(shop: Shop) -> KeyService:
    return KeyService(work=shop.store.work, system=shop.store.system, clock=shop.clock, ids=RandomIds())


async def test_a_key_is_prefixed_random_and_stored_only_as_a_digest() -> None:
    shop = await open_shop()
    made = [await keys(shop).create(shop.tenant, surfaces=STORE) for _ in range(200)]
    texts = {key.text for key in made}
    assert len(texts) == 200
    for key in made:
        assert key.text.startswith("cb_")
        assert len(key.text) >= 3 + 27  # 160 bits in base64
        assert key.credential.digest == rules.digest(key.text)
        assert key.text not in repr(key)
        assert key.text[12:] not in repr(key.credential)


async def test_a_key_proves_its_tenant_and_nothing_else_does() -> None:
    shop = await open_shop()
    service = keys(shop)
    key = await service.create(shop.tenant, surfaces=STORE, scopes=["campaigns:send"], label="shop")
    principal = await service.authenticate(key.text)
    assert (principal.tenant_id, principal.surfaces) == (shop.tenant, frozenset(STORE))
    rules.require(principal, Surface.STORE, "campaigns:send")
    with pytest.raises(Forbidden):
        rules.require(principal, Surface.CRM)
    with pytest.raises(Forbidden):
        rules.require(principal, Surface.STORE, "credits:grant")


@pytest.mark.parametrize(
    "presented", ["", "cb_", "cb_" + "x" * 32, "nonsense", "cb_\udce9" + "x" * 31, "x" * 1_000_000, "cb_\x00"]
)
async def test_missing_wrong_and_odd_keys_all_get_the_same_answer(presented: str) -> None:
    shop = await open_shop()
    with pytest.raises(Unauthenticated, match="Authentication required"):
        await keys(shop).authenticate(presented)


async def test_expired_and_revoked_keys_get_that_answer_too() -> None:
    shop = await open_shop()
    service = keys(shop)
    brief = await service.create(shop.tenant, surfaces=STORE, expires_at=shop.clock.now() + timedelta(hours=1))
    gone = await service.create(shop.tenant, surfaces=STORE)
    await service.revoke(shop.tenant, gone.credential.id)
    await service.revoke(shop.tenant, gone.credential.id)
    assert (await service.authenticate(brief.text)).tenant_id == shop.tenant
    shop.clock.advance(timedelta(hours=1))
    for key in (brief, gone):
        with pytest.raises(Unauthenticated, match="Authentication required"):
            await service.authenticate(key.text)


async def test_keys_rotate_without_downtime_and_the_old_one_ends() -> None:
    shop = await open_shop()
    service = keys(shop)
    old = await service.create(shop.tenant, surfaces=STORE, scopes=["x"])
    new = await service.rotate(shop.tenant, old.credential.id, overlap=timedelta(hours=2))
    assert (new.credential.surfaces, new.credential.scopes) == (old.credential.surfaces, old.credential.scopes)
    assert (await service.authenticate(old.text)).tenant_id == shop.tenant
    assert (await service.authenticate(new.text)).tenant_id == shop.tenant
    shop.clock.advance(timedelta(hours=2))
    with pytest.raises(Unauthenticated):
        await service.authenticate(old.text)
    assert (await service.authenticate(new.text)).tenant_id == shop.tenant
    with pytest.raises(NotFound):
        await service.rotate(shop.tenant, old.credential.id)


async def test_rotation_without_overlap_ends_the_old_key_at_once_and_never_lengthens_it() -> None:
    shop = await open_shop()
    service = keys(shop)
    old = await service.create(shop.tenant, surfaces=STORE)
    await service.rotate(shop.tenant, old.credential.id, overlap=timedelta(0))
    with pytest.raises(Unauthenticated):
        await service.authenticate(old.text)
    soon = shop.clock.now() + timedelta(minutes=5)
    brief = attrs.evolve(old.credential, expires_at=soon)
    assert rules.retire(brief, overlap=timedelta(days=1), now=shop.clock.now()).expires_at == soon


async def test_a_foreign_key_is_unknown() -> None:
    shop = await open_shop()
    service = keys(shop)
    key = await service.create(shop.tenant, surfaces=STORE)
    for attempt in (service.revoke(shop.other, key.credential.id), service.rotate(shop.other, key.credential.id)):
        with pytest.raises(NotFound):
            await attempt
    assert await service.list(shop.other) == []
    assert (await service.authenticate(key.text)).tenant_id == shop.tenant


async def test_last_use_is_kept_to_the_minute() -> None:
    shop = await open_shop()
    service = keys(shop)
    key = await service.create(shop.tenant, surfaces=STORE)

    async def last_use() -> object:
        return (await service.list(shop.tenant))[0].last_used_at

    assert await last_use() is None
    await service.authenticate(key.text)
    first = shop.clock.now()
    assert await last_use() == first
    shop.clock.advance(timedelta(seconds=59))
    await service.authenticate(key.text)
    assert await last_use() == first
    shop.clock.advance(timedelta(seconds=1))
    await service.authenticate(key.text)
    assert await last_use() == shop.clock.now()


async def test_a_key_needs_a_surface_and_a_future_expiry() -> None:
    shop = await open_shop()
    service = keys(shop)
    with pytest.raises(InvalidInput):
        await service.create(shop.tenant, surfaces=[])
    with pytest.raises(InvalidInput):
        await service.create(shop.tenant, surfaces=STORE, expires_at=shop.clock.now())
    with pytest.raises(InvalidInput):
        await service.create(shop.tenant, surfaces=STORE, scopes=["Bad Scope"])


@pytest.mark.parametrize(
    ("field", "values"),
    [
        *(("slug", {"slug": slug}) for slug in ("", "A", "-a", "a-", "a_b", "a" * 64, "ü", "a b", "a\n")),
        *(("region", {"region": region}) for region in ("", "in", "XX", "IND", "001")),
        *(
            ("timezone", {"timezone": zone})
            for zone in ("", "Mars", "../etc/passwd", "/etc/passwd", "America", "UTC\x00", "a/b/c/d")
        ),
        *(("name", {"name": name}) for name in ("", "  ", "x" * 201, "a\x00")),
    ],
)
async def test_a_tenant_that_makes_no_sense_is_refused_by_field(field: str, values: dict[str, str]) -> None:
    shop = await open_shop()
    service = TenantService(system=shop.store.system, clock=shop.clock, ids=shop.ids)
    good = {"slug": "good", "name": "Good", "region": "GR", "timezone": "Europe/Athens"}
    with pytest.raises(InvalidInput) as caught:
        await service.create(**{**good, **values})
    assert caught.value.field == field
    assert len(await service.list()) == 2


async def test_slugs_are_unique_and_nothing_creates_a_tenant_by_the_way() -> None:
    shop = await open_shop()
    service = TenantService(system=shop.store.system, clock=shop.clock, ids=shop.ids)
    with pytest.raises(AlreadyExists):
        await service.create(slug="chai", name="Again")
    with pytest.raises(NotFound):
        await service.by_slug("nobody")
    assert (await service.by_slug("chai")).id == shop.tenant
    assert len(await service.list()) == 2
