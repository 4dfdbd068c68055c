"""Tenants and API keys: what is well formed, what is valid now. Randomness and time are arguments."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import attrs
import phonenumbers

from callboard.errors import Forbidden, InvalidInput, Unauthenticated
from callboard.ids import KeyId, TenantId
from callboard.tenants.model import Credential, Principal, Surface, Tenant
from callboard.tenants.settings import check_timezone
from callboard.values import clean_text

KEY_BYTES: Final = 24
"""Bytes of randomness in a key: 192 bits (reliability.md S7 asks for 128, we promise 160)."""

_KEY: Final = re.compile(r"cb_[A-Za-z0-9_-]{27,80}")
_SHOWN: Final = 9
_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SCOPE: Final = re.compile(r"[a-z][a-z0-9_:.-]{0,63}")
_TOUCH_EVERY: Final = timedelta(minutes=1)


def new_tenant(*, tenant_id: TenantId, slug: str, name: str, region: str, timezone: str, now: datetime) -> Tenant:
    """A tenant with a usable slug (1..63 of ``a-z 0-9 -``), region and IANA zone; InvalidInput names the field."""
    if not _SLUG.fullmatch(slug):
        raise InvalidInput("1 to 63 lower-case letters, digits and inner hyphens", field="slug")
    return Tenant(
        id=tenant_id,
        slug=slug,
        name=clean_text(name, field="name", max_length=200, min_length=1),
        region=check_region(region),
        timezone=check_timezone(timezone),
        created_at=now,
    )


def check_region(region: str) -> str:
    """An ISO 3166 alpha-2 code that has telephone numbers."""
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidInput("Not a two-letter region such as IN", field="region")
    return region


# --- keys ---------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class NewKey:
    """A key at the only moment its text is known: show ``text`` once, store ``credential``."""

    text: str = attrs.field(repr=False)
    credential: Credential


def new_key(
    *,
    key_id: KeyId,
    tenant_id: TenantId,
    token: str,
    label: str,
    surfaces: Collection[Surface],
    scopes: Collection[str] = (),
    expires_at: datetime | None = None,
    now: datetime,
) -> NewKey:
    """``cb_`` and the random token; at least one surface, an expiry only in the future."""
    text = f"cb_{token}"
    if not _KEY.fullmatch(text):
        raise ValueError("the token source is too weak")
    if not surfaces:
        raise InvalidInput("A key needs at least one surface", field="surfaces")
    for scope in scopes:
        if not _SCOPE.fullmatch(scope):
            raise InvalidInput("Not a scope", field="scopes")
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("Must be in the future", field="expiresAt")
    credential = Credential(
        id=key_id,
        tenant_id=tenant_id,
        label=clean_text(label, field="label", max_length=100),
        prefix=text[:_SHOWN],
        digest=digest(text),
        surfaces=frozenset(surfaces),
        scopes=frozenset(scopes),
        created_at=now,
        expires_at=expires_at,
    )
    return NewKey(text=text, credential=credential)


def digest(key: str) -> bytes:
    """SHA-256 of the key's text: what is stored and looked up. Any text has one, however odd."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def looks_like_key(text: str) -> bool:
    """Whether it is worth a look-up."""
    return _KEY.fullmatch(text) is not None


def alive(credential: Credential, now: datetime) -> bool:
    """Neither revoked nor expired."""
    return credential.revoked_at is None and (credential.expires_at is None or now < credential.expires_at)


def verify(credential: Credential | None, presented: bytes, now: datetime) -> Principal:
    """The caller that a key's digest proves; every failure is the same :class:`Unauthenticated`."""
    stored = bytes(32) if credential is None else credential.digest
    same = hmac.compare_digest(stored, presented)
    if credential is None or not same or not alive(credential, now):
        raise Unauthenticated("Authentication required")
    return Principal(
        tenant_id=credential.tenant_id,
        subject=f"key:{credential.id}",
        surfaces=credential.surfaces,
        scopes=credential.scopes,
        credential_id=str(credential.id),
    )


def require(principal: Principal, surface: Surface, scope: str | None = None) -> None:
    """Forbidden unless the credential was issued for the surface and, where it names scopes, for this one."""
    if surface not in principal.surfaces:
        raise Forbidden("This credential is not for this surface")
    if scope is not None and principal.scopes and scope not in principal.scopes:
        raise Forbidden("This credential lacks the scope", scope=scope)


def revoke(credential: Credential, now: datetime) -> Credential:
    """Dead from now on; revoking twice keeps the first time."""
    return credential if credential.revoked_at is not None else attrs.evolve(credential, revoked_at=now)


def retire(credential: Credential, *, overlap: timedelta, now: datetime) -> Credential:
    """The old key of a rotation: it works beside its successor for ``overlap``, never longer than before."""
    if overlap <= timedelta(0):
        return revoke(credential, now)
    end = now + overlap
    if credential.expires_at is not None and credential.expires_at <= end:
        return credential
    return attrs.evolve(credential, expires_at=end)


def worth_touching(credential: Credential, now: datetime) -> bool:
    """Last use is kept to the minute, so that a busy key is not a busy row."""
    return credential.last_used_at is None or now - credential.last_used_at >= _TOUCH_EVERY
