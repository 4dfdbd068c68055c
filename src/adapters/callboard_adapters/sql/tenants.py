"""A tenant's settings and API keys in SQL."""

from __future__ import annotations

import builtins
from collections.abc import Mapping

from sqlalchemy import RowMapping, delete, select, update

from callboard.errors import AlreadyExists
from callboard.ids import KeyId, TenantId
from callboard.tenants.model import Credential, Surface
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.dialect import insert_into
from callboard_adapters.sql.scope import Scope


def secret_context(tenant: TenantId, name: str) -> str:
    """Where a tenant's secret belongs, for :class:`~callboard_adapters.sql.secrets.SecretBox`."""
    return f"{tenant.hex}:{name}"


class SqlSettings:
    """Flat text values under names; a secret's value is sealed for this tenant and name."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._mine = t.tenant_settings.c.tenant_id == scope.tenant_id

    async def all(self) -> Mapping[str, str]:
        """Plain settings that were set."""
        s = t.tenant_settings.c
        rows = await self._scope.connection.execute(
            select(s.name, s.value).where(self._mine, s.secret.is_(False)).order_by(s.name)
        )
        return {row.name: row.value for row in rows}

    async def secret(self, name: str) -> str | None:
        """One secret in clear, or None when it is unset; NotConfigured when our key does not open it."""
        s = t.tenant_settings.c
        rows = await self._scope.connection.execute(
            select(s.value).where(self._mine, s.name == name, s.secret.is_(True))
        )
        sealed = rows.scalar()
        if sealed is None:
            return None
        return self._scope.secrets.open(sealed, context=secret_context(self._scope.tenant_id, name))

    async def put(self, values: Mapping[str, str | None], *, secret: bool = False) -> None:
        """Set the given names, leave the others; None removes one. A name is either plain or secret: the last word."""
        tenant = self._scope.tenant_id
        gone = [name for name, value in values.items() if value is None]
        if gone:
            await self._scope.connection.execute(
                delete(t.tenant_settings).where(self._mine, t.tenant_settings.c.name.in_(gone))
            )
        rows = [
            {
                "tenant_id": tenant,
                "name": name,
                "value": self._scope.secrets.seal(value, context=secret_context(tenant, name)) if secret else value,
                "secret": secret,
            }
            for name, value in sorted(values.items())
            if value is not None
        ]
        if rows:
            statement = insert_into(t.tenant_settings, is_sqlite=self._scope.sqlite)
            new = statement.excluded
            await self._scope.connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["tenant_id", "name"], set_={"value": new.value, "secret": new.secret}
                ),
                rows,
            )


def to_credential(row: RowMapping) -> Credential:
    """A stored key."""
    return Credential(
        id=KeyId(row["id"]),
        tenant_id=TenantId(row["tenant_id"]),
        label=row["label"],
        prefix=row["prefix"],
        digest=row["digest"],
        surfaces=frozenset(Surface(name) for name in row["surfaces"].split(",") if name),
        scopes=frozenset(name for name in row["scopes"].split(",") if name),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )


class SqlCredentials:
    """The tenant's API keys, digests only."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._mine = t.api_keys.c.tenant_id == scope.tenant_id

    async def add(self, credential: Credential) -> None:
        """Store a new key's digest."""
        statement = (
            insert_into(t.api_keys, is_sqlite=self._scope.sqlite)
            .values(
                id=credential.id,
                tenant_id=self._scope.tenant_id,
                label=credential.label,
                prefix=credential.prefix,
                digest=credential.digest,
                surfaces=",".join(sorted(credential.surfaces)),
                scopes=",".join(sorted(credential.scopes)),
                created_at=credential.created_at,
                expires_at=credential.expires_at,
                revoked_at=credential.revoked_at,
                last_used_at=credential.last_used_at,
            )
            .on_conflict_do_nothing()
            .returning(t.api_keys.c.id)
        )
        if (await self._scope.connection.execute(statement)).first() is None:
            raise AlreadyExists("That key exists")

    async def get(self, key: KeyId) -> Credential | None:
        """One key of this tenant."""
        found = await self._scope.connection.execute(select(t.api_keys).where(self._mine, t.api_keys.c.id == key))
        row = found.mappings().first()
        return None if row is None else to_credential(row)

    async def list(self) -> builtins.list[Credential]:
        """All keys of this tenant, newest first, revoked ones included."""
        k = t.api_keys.c
        found = await self._scope.connection.execute(
            select(t.api_keys).where(self._mine).order_by(k.created_at.desc(), k.id.desc())
        )
        return [to_credential(row) for row in found.mappings()]

    async def save(self, credential: Credential) -> None:
        """Replace expiry, revocation and last use."""
        await self._scope.connection.execute(
            update(t.api_keys)
            .where(self._mine, t.api_keys.c.id == credential.id)
            .values(
                expires_at=credential.expires_at,
                revoked_at=credential.revoked_at,
                last_used_at=credential.last_used_at,
            )
        )
