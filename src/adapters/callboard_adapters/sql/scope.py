"""What a unit of work hands to each of its repositories."""

from __future__ import annotations

import attrs
from sqlalchemy.ext.asyncio import AsyncConnection

from callboard.ids import Ids, TenantId
from callboard.tenants.model import Tenant
from callboard_adapters.sql.counts import Counts
from callboard_adapters.sql.secrets import SecretBox


@attrs.define(kw_only=True)
class Scope:
    """What every repository gets: the open connection, whose rows, and where new ids come from.

    ``tenant`` is None in system scope. ``sqlite`` picks between the two databases where their SQL differs. ``counts``
    collects what the transaction does to the rollup until it ends.
    """

    connection: AsyncConnection
    tenant: Tenant | None
    ids: Ids
    secrets: SecretBox
    sqlite: bool
    counts: Counts = attrs.field(factory=Counts)

    @property
    def tenant_id(self) -> TenantId:
        """The one tenant whose rows may be touched."""
        assert self.tenant is not None
        return self.tenant.id

    @property
    def timezone(self) -> str:
        """The tenant's zone: what its days are."""
        assert self.tenant is not None
        return self.tenant.timezone
