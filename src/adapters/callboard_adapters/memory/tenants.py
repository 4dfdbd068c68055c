"""Tenants, their settings and their keys."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from datetime import datetime

import attrs

from callboard.errors import AlreadyExists
from callboard.ids import KeyId, TenantId
from callboard.tenants.model import Credential, Tenant
from callboard_adapters.memory.scope import Repository, TenantRepository, port
from callboard_adapters.memory.state import TenantRows


class MemorySettings(TenantRepository):
    """Plain and secret values side by side; nothing is encrypted, because nothing is at rest."""

    name = "settings"

    @port
    def all(self) -> Mapping[str, str]:
        return dict(self._mine.settings)

    @port
    def secret(self, name: str) -> str | None:
        return self._mine.secrets.get(name)

    @port
    def put(self, values: Mapping[str, str | None], *, secret: bool = False) -> None:
        kept, other = self._mine.settings, self._mine.secrets
        if secret:
            kept, other = other, kept
        for name, value in values.items():
            other.drop(name)  # one value per name, as in a table
            if value is None:
                kept.drop(name)
            else:
                kept.put(name, value)


class MemoryCredentials(TenantRepository):
    """The tenant's keys by id."""

    name = "credentials"

    @port
    def add(self, credential: Credential) -> None:
        if credential.digest in self._state.digests or credential.id in self._mine.credentials:
            raise AlreadyExists("That key exists")
        self._mine.credentials.put(credential.id, attrs.evolve(credential, tenant_id=self._tenant_id))
        self._state.digests.put(credential.digest, (self._tenant_id, credential.id))

    @port
    def get(self, key: KeyId) -> Credential | None:
        return self._mine.credentials.get(key)

    @port
    def list(self) -> builtins.list[Credential]:
        return sorted(self._mine.credentials.values(), key=lambda c: (c.created_at, c.id), reverse=True)

    @port
    def save(self, credential: Credential) -> None:
        stored = self._mine.credentials.get(credential.id)
        if stored is not None:
            self._mine.credentials.put(
                stored.id,
                attrs.evolve(
                    stored,
                    expires_at=credential.expires_at,
                    revoked_at=credential.revoked_at,
                    last_used_at=credential.last_used_at,
                ),
            )


class MemoryDirectory(Repository):
    """Tenants by id and slug, keys by digest."""

    name = "directory"

    @port
    def create(self, tenant: Tenant) -> None:
        if tenant.slug in self._state.slugs or tenant.id in self._state.tenants:
            raise AlreadyExists("That slug is taken")
        self._state.slugs.put(tenant.slug, tenant.id)
        self._state.tenants.put(tenant.id, TenantRows(self._state.journal, tenant))

    @port
    def save(self, tenant: Tenant) -> None:
        rows = self._state.tenants.get(tenant.id)
        if rows is not None:
            rows.about.put(tenant.id, attrs.evolve(rows.tenant, name=tenant.name, timezone=tenant.timezone))

    @port
    def by_slug(self, slug: str) -> Tenant | None:
        found = self._state.slugs.get(slug)
        return None if found is None else self._state.tenants[found].tenant

    @port
    def by_id(self, tenant: TenantId) -> Tenant | None:
        found = self._state.tenants.get(tenant)
        return None if found is None else found.tenant

    @port
    def list(self) -> builtins.list[Tenant]:
        return sorted((rows.tenant for rows in self._state.tenants.values()), key=lambda t: t.slug)

    @port
    def by_key_digest(self, digest: bytes) -> Credential | None:
        found = self._state.digests.get(digest)
        return None if found is None else self._state.tenants[found[0]].credentials[found[1]]

    @port
    def settings_named(self, name: str) -> Mapping[TenantId, str]:
        found = {
            tenant: rows.settings.get(name, rows.secrets.get(name)) for tenant, rows in self._state.tenants.items()
        }
        return {tenant: value for tenant, value in found.items() if value is not None}

    @port
    def touch(self, keys: Mapping[KeyId, datetime]) -> None:
        for rows in self._state.tenants.values():
            for key in keys.keys() & rows.credentials.keys():
                rows.credentials.put(key, attrs.evolve(rows.credentials[key], last_used_at=keys[key]))
