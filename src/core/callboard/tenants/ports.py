"""What tenants and credentials need from a store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from callboard.events import Outbox
from callboard.ids import KeyId, TenantId
from callboard.tenants.model import Credential, Tenant


class Settings(Protocol):
    """A tenant's own settings: flat text values under known names; secrets are encrypted at rest."""

    async def all(self) -> Mapping[str, str]:
        """Plain settings (no secrets) that were set."""
        ...

    async def secret(self, name: str) -> str | None:
        """One secret in clear, or None when it is unset."""
        ...

    async def put(self, values: Mapping[str, str | None], *, secret: bool = False) -> None:
        """Set the given names, leave the others; None removes one."""
        ...


class Credentials(Protocol):
    """The tenant's API keys."""

    async def add(self, credential: Credential) -> None:
        """Store a new key's digest."""
        ...

    async def get(self, key: KeyId) -> Credential | None:
        """One key of this tenant."""
        ...

    async def list(self) -> list[Credential]:
        """All keys of this tenant, newest first, revoked ones included."""
        ...

    async def save(self, credential: Credential) -> None:
        """Replace expiry, revocation and last use."""
        ...


class Work(Protocol):
    """One tenant's transaction."""

    @property
    def tenant(self) -> Tenant: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def credentials(self) -> Credentials: ...
    @property
    def outbox(self) -> Outbox: ...


class Directory(Protocol):
    """Look-ups that come before a tenant is known (system scope)."""

    async def create(self, tenant: Tenant) -> None:
        """Add a tenant with an empty credit account; AlreadyExists when the slug is taken."""
        ...

    async def save(self, tenant: Tenant) -> None:
        """Replace name and time zone; slug, region and id never change."""
        ...

    async def by_slug(self, slug: str) -> Tenant | None: ...

    async def by_id(self, tenant: TenantId) -> Tenant | None: ...

    async def list(self) -> list[Tenant]: ...

    async def by_key_digest(self, digest: bytes) -> Credential | None:
        """The key with this SHA-256, whoever's it is."""
        ...

    async def settings_named(self, name: str) -> Mapping[TenantId, str]:
        """Every tenant's value of one setting, plain or (decrypted) secret: whose webhook this is."""
        ...

    async def touch(self, keys: Mapping[KeyId, datetime]) -> None:
        """Record last use of several keys at once."""
        ...


class SystemWork(Protocol):
    """A transaction across tenants."""

    @property
    def directory(self) -> Directory: ...
