"""Tenants and keys before a tenant is known (system scope)."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, bindparam, insert, select, update

from callboard.errors import AlreadyExists
from callboard.ids import KeyId, TenantId
from callboard.tenants.model import Credential, Tenant
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.dialect import insert_into
from callboard_adapters.sql.scope import Scope
from callboard_adapters.sql.tenants import secret_context, to_credential


class SqlDirectory:
    """Who there is."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def create(self, tenant: Tenant) -> None:
        """Add a tenant with an empty credit account; AlreadyExists when the slug is taken."""
        statement = (
            insert_into(t.tenants, is_sqlite=self._scope.sqlite)
            .values(
                id=tenant.id,
                slug=tenant.slug,
                name=tenant.name,
                region=tenant.region,
                timezone=tenant.timezone,
                created_at=tenant.created_at,
            )
            .on_conflict_do_nothing()
            .returning(t.tenants.c.id)
        )
        if (await self._scope.connection.execute(statement)).first() is None:
            raise AlreadyExists("That slug is taken", field="slug")
        await self._scope.connection.execute(insert(t.credit_accounts).values(tenant_id=tenant.id, balance=0))

    async def save(self, tenant: Tenant) -> None:
        """Replace name and time zone."""
        await self._scope.connection.execute(
            update(t.tenants).where(t.tenants.c.id == tenant.id).values(name=tenant.name, timezone=tenant.timezone)
        )

    async def by_slug(self, slug: str) -> Tenant | None:
        return await self._one(t.tenants.c.slug == slug)

    async def by_id(self, tenant: TenantId) -> Tenant | None:
        return await self._one(t.tenants.c.id == tenant)

    async def _one(self, condition: ColumnElement[bool]) -> Tenant | None:
        row = (await self._scope.connection.execute(select(t.tenants).where(condition))).mappings().first()
        return None if row is None else Tenant(**row)

    async def list(self) -> builtins.list[Tenant]:
        """By slug."""
        rows = await self._scope.connection.execute(select(t.tenants).order_by(t.tenants.c.slug))
        return [Tenant(**row) for row in rows.mappings()]

    async def by_key_digest(self, digest: bytes) -> Credential | None:
        """The key with this SHA-256, whoever's it is."""
        found = await self._scope.connection.execute(select(t.api_keys).where(t.api_keys.c.digest == digest))
        row = found.mappings().first()
        return None if row is None else to_credential(row)

    async def settings_named(self, name: str) -> Mapping[TenantId, str]:
        """Every tenant's value of one setting; a secret one in clear."""
        s = t.tenant_settings.c
        rows = await self._scope.connection.execute(select(s.tenant_id, s.value, s.secret).where(s.name == name))
        return {
            TenantId(tenant): self._scope.secrets.open(value, context=secret_context(tenant, name)) if secret else value
            for tenant, value, secret in rows
        }

    async def touch(self, keys: Mapping[KeyId, datetime]) -> None:
        """Record last use of several keys at once."""
        if keys:
            statement = (
                update(t.api_keys).where(t.api_keys.c.id == bindparam("key")).values(last_used_at=bindparam("at"))
            )
            rows = [{"key": key, "at": at} for key, at in sorted(keys.items())]
            await self._scope.connection.execute(statement, rows)
