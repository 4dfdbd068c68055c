"""Secrets in the database: readable with our key for their own place, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text, update
from tests.integration.sql_read.conftest import Shop

from callboard.errors import NotConfigured
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.secrets import SecretBox
from callboard_adapters.sql.work import SqlStore
from callboard_adapters.system import Uuid7Ids

OLD, NEW = SecretBox(b"old key, 32 characters or longer"), SecretBox(b"new key, 32 characters or longer")


@given(st.text(), st.text())
def test_what_is_sealed_opens_again_in_its_place(clear: str, context: str) -> None:
    sealed = OLD.seal(clear, context=context)
    assert OLD.open(sealed, context=context) == clear
    assert OLD.seal(clear, context=context) != sealed
    with pytest.raises(NotConfigured):
        OLD.open(sealed, context=context + "x")


def test_a_rotated_key_still_opens_and_a_foreign_one_does_not() -> None:
    sealed = OLD.seal("s3cret", context="c")
    rotated = SecretBox(b"new key, 32 characters or longer", b"old key, 32 characters or longer")
    assert rotated.open(sealed, context="c") == "s3cret"
    assert NEW.open(rotated.seal("s3cret", context="c"), context="c") == "s3cret"
    with pytest.raises(NotConfigured, match="CALLBOARD_SECRET_KEY"):
        NEW.open(sealed, context="c")


@pytest.mark.parametrize("broken", ["", "v1.", "v1.AAAA", "v1.é", "v2.AAAA", "s3cret"])
def test_a_broken_secret_is_not_configured(broken: str) -> None:
    with pytest.raises(NotConfigured):
        OLD.open(broken, context="c")


async def test_no_secret_stands_in_the_database_in_clear(shop: Shop) -> None:
    async with shop.store.work(shop.id) as w:
        await w.settings.put({"SMS_KEY": "s3cret-value"}, secret=True)
        await w.settings.put({"shopName": "Asha's"})
    async with shop.store.work(shop.id) as w:
        stored = (await w.connection.execute(select(t.tenant_settings.c.value).order_by(text("1")))).scalars().all()
        assert not any("s3cret" in value for value in stored)
        assert await w.settings.all() == {"shopName": "Asha's"}
        assert await w.settings.secret("SMS_KEY") == "s3cret-value"
        assert await w.settings.secret("shopName") is None


async def test_a_secret_moved_to_another_tenant_does_not_open(open_shop: Any, store: SqlStore) -> None:
    one, two = await open_shop("one"), await open_shop("two")
    for each in (one, two):
        async with store.work(each.id) as w:
            await w.settings.put({"SMS_KEY": each.id.hex}, secret=True)
    async with store.system() as s:
        assert await s.directory.settings_named("SMS_KEY") == {one.id: one.id.hex, two.id: two.id.hex}
    settings = t.tenant_settings
    async with store.work(one.id) as w:
        mine = await w.connection.scalar(select(settings.c.value).where(settings.c.tenant_id == one.id))
    async with store.work(two.id) as w:
        await w.connection.execute(update(settings).where(settings.c.tenant_id == two.id).values(value=mine))
    async with store.work(two.id) as w:
        with pytest.raises(NotConfigured):
            await w.settings.secret("SMS_KEY")


async def test_another_application_key_says_what_is_wrong(shop: Shop, store: SqlStore) -> None:
    async with store.work(shop.id) as w:
        await w.settings.put({"SMS_KEY": "s3cret"}, secret=True)
    other = SqlStore(store.engine, ids=Uuid7Ids(), secret_key=b"another key of 32 characters !!!")
    async with other.work(shop.id) as w:
        with pytest.raises(NotConfigured, match="CALLBOARD_SECRET_KEY"):
            await w.settings.secret("SMS_KEY")
