"""Tenants, their keys and their settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

import attrs

from callboard.clock import Clock
from callboard.errors import InvalidInput, NotFound, Unauthenticated
from callboard.ids import Ids, KeyId, TenantId
from callboard.tenants import rules, settings
from callboard.tenants.model import Credential, MessagingPolicy, Principal, Surface, Tenant
from callboard.tenants.ports import SystemWork, Work
from callboard.values import clean_text
from callboard.work import OpenSystemWork, OpenWork

DEFAULT_OVERLAP: Final = timedelta(hours=24)
MAX_SECRET: Final = 8_192


@attrs.frozen(kw_only=True)
class TenantService:
    """Create and find tenants. Nothing else ever creates one."""

    system: OpenSystemWork[SystemWork]
    clock: Clock
    ids: Ids

    async def create(self, *, slug: str, name: str, region: str = "IN", timezone: str = "Asia/Kolkata") -> Tenant:
        """A tenant with no credits. AlreadyExists for the slug; InvalidInput names the field."""
        tenant = rules.new_tenant(
            tenant_id=TenantId(self.ids.new()),
            slug=slug,
            name=name,
            region=region,
            timezone=timezone,
            now=self.clock.now(),
        )
        async with self.system() as s:
            await s.directory.create(tenant)
        return tenant

    async def by_slug(self, slug: str) -> Tenant:
        """NotFound when there is none."""
        async with self.system() as s:
            tenant = await s.directory.by_slug(slug)
        if tenant is None:
            raise NotFound("Tenant not found", slug=slug)
        return tenant

    async def list(self) -> list[Tenant]:
        """All of them."""
        async with self.system() as s:
            return await s.directory.list()


@attrs.frozen(kw_only=True)
class KeyService:
    """API keys: shown once, stored as a digest, several active at once."""

    work: OpenWork[Work]
    system: OpenSystemWork[SystemWork]
    clock: Clock
    ids: Ids

    async def create(
        self,
        tenant: TenantId,
        *,
        surfaces: Collection[Surface],
        scopes: Collection[str] = (),
        label: str = "",
        expires_at: datetime | None = None,
    ) -> rules.NewKey:
        """A new key; its ``text`` is never to be had again."""
        new = rules.new_key(
            key_id=KeyId(self.ids.new()),
            tenant_id=tenant,
            token=self.ids.token(rules.KEY_BYTES),
            label=label,
            surfaces=surfaces,
            scopes=scopes,
            expires_at=expires_at,
            now=self.clock.now(),
        )
        async with self.work(tenant) as w:
            await w.credentials.add(new.credential)
        return new

    async def list(self, tenant: TenantId) -> list[Credential]:
        """Newest first, revoked ones included."""
        async with self.work(tenant) as w:
            return await w.credentials.list()

    async def revoke(self, tenant: TenantId, key: KeyId) -> None:
        """Dead from the commit on; twice is as good as once. NotFound."""
        async with self.work(tenant) as w:
            await w.credentials.save(rules.revoke(_found(await w.credentials.get(key)), self.clock.now()))

    async def rotate(self, tenant: TenantId, key: KeyId, *, overlap: timedelta = DEFAULT_OVERLAP) -> rules.NewKey:
        """A successor with the same surfaces and scopes; both work for ``overlap``. NotFound for a dead key."""
        now = self.clock.now()
        async with self.work(tenant) as w:
            old = _found(await w.credentials.get(key))
            if not rules.alive(old, now):
                raise NotFound("Key not found")
            new = rules.new_key(
                key_id=KeyId(self.ids.new()),
                tenant_id=tenant,
                token=self.ids.token(rules.KEY_BYTES),
                label=old.label,
                surfaces=old.surfaces,
                scopes=old.scopes,
                now=now,
            )
            await w.credentials.add(new.credential)
            await w.credentials.save(rules.retire(old, overlap=overlap, now=now))
        return new

    async def authenticate(self, key: str) -> Principal:
        """Who presents this key. Unauthenticated for every key that is not alive, all alike."""
        if not rules.looks_like_key(key):
            raise Unauthenticated("Authentication required")
        now = self.clock.now()
        presented = rules.digest(key)
        async with self.system() as s:
            credential = await s.directory.by_key_digest(presented)
            principal = rules.verify(credential, presented, now)
            if credential is not None and rules.worth_touching(credential, now):
                await s.directory.touch({credential.id: now})
        return principal


@attrs.frozen(kw_only=True)
class SettingsService:
    """A tenant's settings as a flat object, its messaging policy, and its providers' secrets."""

    work: OpenWork[Work]
    system: OpenSystemWork[SystemWork]

    async def get(self, tenant: TenantId) -> dict[str, settings.Printable]:
        """Every setting, printable; no secret is among them."""
        async with self.work(tenant) as w:
            return settings.printable(w.tenant, await w.settings.all())

    async def policy(self, tenant: TenantId) -> MessagingPolicy:
        """What the settings say about sending."""
        async with self.work(tenant) as w:
            return settings.policy(w.tenant, await w.settings.all())

    async def put(self, tenant: TenantId, values: Mapping[str, object]) -> dict[str, settings.Printable]:
        """A partial update: all of it or, with InvalidInput naming a bad field, none. Returns the whole object."""
        changes = settings.read_changes(values)
        zone = changes.pop("timezone", None)
        if changes:
            async with self.work(tenant) as w:
                await w.settings.put(changes)
        if zone is not None:  # the tenant's own field: day buckets and "today" follow it
            async with self.system() as s:
                found = await s.directory.by_id(tenant)
                if found is None:
                    raise NotFound("Tenant not found")
                await s.directory.save(attrs.evolve(found, timezone=zone))
        return await self.get(tenant)

    async def put_secret(self, tenant: TenantId, name: str, value: str | None) -> None:
        """Set or (None) remove one of ``settings.SECRETS``; stored encrypted, printed nowhere."""
        if name not in settings.SECRETS:
            raise InvalidInput("Unknown secret setting", field=name[:64])
        if value is not None:
            clean_text(value, field=name, max_length=MAX_SECRET, min_length=1)
        async with self.work(tenant) as w:
            await w.settings.put({name: value}, secret=True)


def _found(credential: Credential | None) -> Credential:
    if credential is None:
        raise NotFound("Key not found")
    return credential
