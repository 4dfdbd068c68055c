"""Who is calling: an API key or a signed token, and nothing else; contracts/README.md section 2.

Missing, wrong, expired and revoked credentials are one and the same 401; a good one for another surface is 403.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import attrs
import jwt
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from callboard.errors import Forbidden, NotFound, Unauthenticated
from callboard.ids import TenantId
from callboard.tenants.model import Principal
from callboard.tenants.model import Surface as SurfaceName
from callboard_adapters.http.ratelimit import RateLimiter
from callboard_adapters.http.tenants import TenantBook

_ALGORITHM = "HS256"
_LONGEST = 4096
_SECONDS_CACHED = 3.0
_MOST_CACHED = 10_000
_REFUSED = "Authentication required"

ReadToken = Callable[[Scope], str | None]
"""Where a surface's clients put their credential; None when there is none that could be one."""


class Keys(Protocol):
    """Who holds an API key."""

    async def authenticate(self, key: str) -> Principal:
        """The holder of a live key; :class:`Unauthenticated` for every other one."""
        ...


def issue_token(
    secret: str,
    tenant_id: TenantId,
    user: str,
    surfaces: Collection[SurfaceName],
    ttl: timedelta,
    *,
    now: datetime | None = None,
) -> str:
    """A JWT (HS256) for ``user`` of a tenant, valid on ``surfaces`` for ``ttl``, signed with the app secret."""
    issued = now or datetime.now(UTC)
    claims = {
        "sub": user,
        "tenant": str(tenant_id),
        "aud": sorted(surfaces),
        "iat": int(issued.timestamp()),
        "exp": int((issued + ttl).timestamp()),
    }
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def bearer(scope: Scope) -> str | None:
    """The token of the one ``Authorization: Bearer`` header."""
    given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    if len(given) != 1 or len(given[0]) > _LONGEST or not given[0].isascii():
        return None
    scheme, _, token = given[0].decode().strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


class Authenticator:
    """Turns a credential into a :class:`Principal`; good answers are kept for three seconds."""

    def __init__(self, *, secret: str, keys: Keys, tenants: TenantBook) -> None:
        self._secret = secret
        self._keys = keys
        self._tenants = tenants
        self._known: dict[bytes, tuple[Principal, float]] = {}

    async def principal(self, token: str | None) -> Principal:
        """Who holds ``token``; :class:`Unauthenticated` without saying why."""
        if not token:
            raise Unauthenticated(_REFUSED)
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        principal = await (self._by_jwt(token) if token.count(".") == 2 else self._by_key(token))
        if len(self._known) >= _MOST_CACHED:
            self._known.clear()
        self._known[digest] = (principal, time.monotonic() + self._lifetime(token))
        return principal

    async def surfaces(self, token: str | None) -> frozenset[str]:
        """The names of the surfaces ``token`` is valid for; none for a bad one."""
        try:
            return frozenset((await self.principal(token)).surfaces)
        except Unauthenticated:
            return frozenset()

    def _lifetime(self, token: str) -> float:
        """A token's answer is not kept beyond its own end."""
        if token.count(".") != 2:
            return _SECONDS_CACHED
        return min(_SECONDS_CACHED, max(0.0, float(self._claims(token)["exp"]) - time.time()))

    async def _by_key(self, token: str) -> Principal:
        try:
            return await self._keys.authenticate(token)
        except Unauthenticated:
            raise Unauthenticated(_REFUSED) from None

    async def _by_jwt(self, token: str) -> Principal:
        claims = self._claims(token)
        tenant = TenantId(claims["tenant"])
        try:
            await self._tenants.get(tenant)
        except NotFound:
            raise Unauthenticated(_REFUSED) from None
        return Principal(
            tenant_id=tenant,
            subject=claims["sub"],
            surfaces=claims["aud"],
            scopes=frozenset(),
            credential_id=f"jwt:{tenant}:{claims['sub']}",
        )

    def _claims(self, token: str) -> dict[str, Any]:
        """The verified claims with their types made sure of; :class:`Unauthenticated` for anything unexpected."""
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                options={"require": ["exp", "sub", "tenant", "aud"], "verify_aud": False},
            )
            audience = claims["aud"]
            names = [audience] if isinstance(audience, str) else list(audience)
            known = {surface.value: surface for surface in SurfaceName}
            return {
                "sub": str(claims["sub"])[:200],
                "tenant": UUID(str(claims["tenant"])),
                "aud": frozenset(known[name] for name in names if name in known),
                "exp": int(claims["exp"]),
            }
        except Exception:  # noqa: BLE001 - whatever a forged token makes the library raise, it is the same 401
            raise Unauthenticated(_REFUSED) from None


@attrs.frozen(kw_only=True)
class Authentication:
    """Middleware of one surface: proves the caller, holds him to his rate, leaves the principal in ``scope["user"]``.

    Handlers with ``opt={"public": True}`` (signed webhooks, short links, unsubscribe pages) are let through.
    """

    app: ASGIApp
    surface: SurfaceName
    authenticator: Authenticator
    limiter: RateLimiter
    read: ReadToken = bearer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == ScopeType.HTTP
            and scope["method"] != "OPTIONS"
            and not scope["route_handler"].opt.get("public")
        ):
            principal = await self.authenticator.principal(self.read(scope))
            if self.surface not in principal.surfaces:
                raise Forbidden("This credential is for another surface")
            await self.limiter.hit(principal.credential_id)
            scope["user"] = principal
            structlog.contextvars.bind_contextvars(tenant_id=str(principal.tenant_id))
        await self.app(scope, receive, send)


def authentication(
    surface: SurfaceName, authenticator: Authenticator, limiter: RateLimiter, read: ReadToken = bearer
) -> Callable[[ASGIApp], Authentication]:
    """The middleware as Litestar wants it: a function of the next app."""
    return lambda app: Authentication(app=app, surface=surface, authenticator=authenticator, limiter=limiter, read=read)


__all__ = ["Authentication", "Authenticator", "Keys", "authentication", "bearer", "issue_token"]
