"""Two tenants in a memory store, for tests of services."""

from __future__ import annotations

import attrs

from callboard.ids import TenantId
from callboard.tenants.service import TenantService
from callboard_adapters.memory.clock import ManualClock
from callboard_adapters.memory.ids import CountingIds
from callboard_adapters.memory.store import MemoryStore


@attrs.frozen(kw_only=True)
class Shop:
    store: MemoryStore
    clock: ManualClock
    ids: CountingIds
    tenant: TenantId
    other: TenantId


async def open_shop() -> Shop:
    clock, ids = ManualClock(), CountingIds()
    store = MemoryStore(clock=clock, ids=ids)
    tenants = TenantService(system=store.system, clock=clock, ids=ids)
    first = await tenants.create(slug="chai", name="Chai & Co", region="IN", timezone="Asia/Kolkata")
    second = await tenants.create(slug="other", name="Other")
    return Shop(store=store, clock=clock, ids=ids, tenant=first.id, other=second.id)
