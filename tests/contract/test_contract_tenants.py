"""Directory, settings and credentials."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from tests.contract.builders import a_credential
from tests.contract.world import World, together

from callboard.errors import AlreadyExists
from callboard.ids import KeyId, TenantId
from callboard.tenants.model import Tenant


async def test_a_tenant_is_found_by_id_and_by_slug(world: World) -> None:
    tenant = Tenant(
        id=TenantId(world.ids.new()),
        slug="tea-house",
        name="Tea Höuse ☕",
        region="DE",
        timezone="Europe/Berlin",
        created_at=world.now(),
    )
    async with world.system() as s:
        await s.directory.create(tenant)
    other = await world.tenant()
    async with world.system() as s:
        assert await s.directory.by_id(tenant.id) == tenant
        assert await s.directory.by_slug("tea-house") == tenant
        assert await s.directory.by_slug("Tea-House") is None
        assert await s.directory.by_id(TenantId(world.ids.new())) is None
        assert {t.id for t in await s.directory.list()} == {tenant.id, other}
    async with world.work(tenant.id) as w:
        assert w.tenant == tenant
        assert await w.credits.balance() == 0


async def test_saving_a_tenant_replaces_name_and_time_zone(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        before = w.tenant
    changed = attrs.evolve(before, name="New", timezone="Europe/Rome", slug="x", region="IT")
    async with world.system() as s:
        await s.directory.save(changed)
        await s.directory.save(attrs.evolve(changed, id=TenantId(world.ids.new())))
    after = attrs.evolve(before, name="New", timezone="Europe/Rome")
    async with world.system() as s:
        assert await s.directory.list() == [after]
        assert await s.directory.by_id(tenant) == after
        assert await s.directory.by_slug(before.slug) == after
    async with world.work(tenant) as w:
        assert w.tenant == after


async def test_a_slug_is_taken_once_however_many_want_it(world: World) -> None:
    results = await together(*(world.tenant(slug="same") for _ in range(5)))
    assert sum(isinstance(r, AlreadyExists) for r in results) == 4
    async with world.system() as s:
        assert len(await s.directory.list()) == 1


async def test_settings_are_set_one_by_one_and_removed_by_none(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        await w.settings.put({"a": "1", "b": "2"})
        await w.settings.put({"b": "3", "c": "", "unset": None})
    async with world.work(tenant) as w:
        assert await w.settings.all() == {"a": "1", "b": "3", "c": ""}
        await w.settings.put({"a": None})
        assert await w.settings.all() == {"b": "3", "c": ""}


async def test_secrets_are_read_one_by_one_and_never_listed(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        await w.settings.put({"plain": "x"})
        await w.settings.put({"API_KEY": "s3cret ü"}, secret=True)
    async with world.work(tenant) as w:
        assert await w.settings.all() == {"plain": "x"}
        assert await w.settings.secret("API_KEY") == "s3cret ü"
        assert await w.settings.secret("plain") is None
        assert await w.settings.secret("OTHER") is None
        await w.settings.put({"API_KEY": "second"}, secret=True)
        assert await w.settings.secret("API_KEY") == "second"
        await w.settings.put({"API_KEY": None}, secret=True)
        assert await w.settings.secret("API_KEY") is None


async def test_a_name_has_one_value_plain_or_secret(world: World) -> None:
    tenant = await world.tenant()
    async with world.work(tenant) as w:
        await w.settings.put({"x": "shown"})
        await w.settings.put({"x": "hidden"}, secret=True)
        assert (await w.settings.all(), await w.settings.secret("x")) == ({}, "hidden")
        await w.settings.put({"x": "shown"})
        assert (await w.settings.all(), await w.settings.secret("x")) == ({"x": "shown"}, None)


async def test_one_setting_of_every_tenant(world: World) -> None:
    one, two, three = await world.tenant(), await world.tenant(), await world.tenant()
    async with world.work(one) as w:
        await w.settings.put({"smsSender": "+91 1"})
    async with world.work(two) as w:
        await w.settings.put({"smsSender": "hidden"}, secret=True)
    async with world.work(three) as w:
        await w.settings.put({"other": "x"})
    async with world.system() as s:
        assert await s.directory.settings_named("smsSender") == {one: "+91 1", two: "hidden"}
        assert await s.directory.settings_named("nothing") == {}


async def test_a_key_is_stored_whole_and_found_by_its_digest(world: World) -> None:
    tenant = await world.tenant()
    key = a_credential(world, tenant, b"d" * 32, expires_at=world.now() + timedelta(days=1))
    async with world.work(tenant) as w:
        await w.credentials.add(key)
    async with world.work(tenant) as w:
        assert await w.credentials.get(key.id) == key
        assert await w.credentials.get(KeyId(world.ids.new())) is None
    async with world.system() as s:
        assert await s.directory.by_key_digest(b"d" * 32) == key
        assert await s.directory.by_key_digest(b"e" * 32) is None


async def test_keys_without_scopes_keep_none(world: World) -> None:
    tenant = await world.tenant()
    key = a_credential(world, tenant, b"d" * 32, scopes=frozenset())
    async with world.work(tenant) as w:
        await w.credentials.add(key)
        assert await w.credentials.get(key.id) == key


async def test_keys_are_listed_newest_first_with_the_revoked(world: World) -> None:
    tenant = await world.tenant()
    made = [
        a_credential(world, tenant, bytes([n]) * 32, created_at=world.now() - timedelta(hours=n)) for n in (2, 1, 3)
    ]
    made[0] = attrs.evolve(made[0], revoked_at=world.now())
    async with world.work(tenant) as w:
        for key in made:
            await w.credentials.add(key)
        assert await w.credentials.list() == [made[1], made[0], made[2]]


async def test_saving_a_key_replaces_expiry_revocation_and_last_use(world: World) -> None:
    tenant = await world.tenant()
    key = a_credential(world, tenant, b"d" * 32)
    later = attrs.evolve(key, expires_at=world.now(), revoked_at=world.now(), last_used_at=world.now())
    async with world.work(tenant) as w:
        await w.credentials.add(key)
        await w.credentials.save(later)
        assert await w.credentials.get(key.id) == later


async def test_last_use_of_many_keys_at_once(world: World) -> None:
    one, two = await world.tenant(), await world.tenant()
    keys = [a_credential(world, tenant, bytes([n]) * 32) for n, tenant in enumerate((one, two, two))]
    for key in keys:
        async with world.work(key.tenant_id) as w:
            await w.credentials.add(key)
    at = world.now()
    async with world.system() as s:
        await s.directory.touch({keys[0].id: at, keys[1].id: at + timedelta(seconds=1), KeyId(world.ids.new()): at})
        assert (await s.directory.by_key_digest(keys[0].digest)) == attrs.evolve(keys[0], last_used_at=at)
        used = await s.directory.by_key_digest(keys[1].digest)
        assert used is not None
        assert used.last_used_at == at + timedelta(seconds=1)
        assert (await s.directory.by_key_digest(keys[2].digest)) == keys[2]
        await s.directory.touch({})


async def test_two_keys_never_share_a_digest(world: World) -> None:
    one, two = await world.tenant(), await world.tenant()
    async with world.work(one) as w:
        await w.credentials.add(a_credential(world, one, b"d" * 32))
    with pytest.raises(Exception):  # noqa: B017 - which one is not promised; that it fails is
        async with world.work(two) as w:
            await w.credentials.add(a_credential(world, two, b"d" * 32))
