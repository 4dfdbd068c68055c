"""Credentials: one 401 for everything that is not valid, 403 for another surface, the tenant from nowhere else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import attrs
import jwt
import pytest

from callboard.errors import RateLimited, Unauthenticated
from callboard.ids import TenantId
from callboard.tenants.model import Principal, Surface, Tenant
from callboard_adapters.http.auth import Authenticator, bearer, issue_token
from callboard_adapters.http.ratelimit import RateLimiter
from callboard_adapters.http.tenants import TenantBook

SECRET = "a secret of at least thirty-two characters"
KNOWN = Tenant(
    id=TenantId(uuid4()), slug="s", name="S", region="IN", timezone="UTC", created_at=datetime(2026, 1, 1, tzinfo=UTC)
)


@attrs.define
class Keys:
    """A key book that counts how often it is asked."""

    asked: int = 0

    async def authenticate(self, key: str) -> Principal:
        self.asked += 1
        if key != "good":
            raise Unauthenticated("no")
        return Principal(
            tenant_id=KNOWN.id, subject="k", surfaces=frozenset({Surface.BOT}), scopes=frozenset(), credential_id="k"
        )


class Directory:
    async def by_id(self, tenant: TenantId) -> Tenant | None:
        return KNOWN if tenant == KNOWN.id else None


class System:
    directory = Directory()


@asynccontextmanager
async def system() -> AsyncIterator[System]:
    yield System()


def authenticator(keys: Keys | None = None) -> Authenticator:
    return Authenticator(secret=SECRET, keys=keys or Keys(), tenants=TenantBook(system))


def token(**claims: Any) -> str:
    good = {"sub": "u", "tenant": str(KNOWN.id), "aud": ["store"], "exp": int(time.time()) + 60}
    return jwt.encode({k: v for k, v in (good | claims).items() if v is not None}, SECRET, algorithm="HS256")


def forged(header: dict[str, Any], claims: dict[str, Any] | None = None, key: bytes = SECRET.encode()) -> str:
    body = (
        claims
        if claims is not None
        else {"sub": "u", "tenant": str(KNOWN.id), "aud": ["store"], "exp": int(time.time()) + 60}
    )
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, body)]
    signature = hmac.digest(key, b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


async def test_issued_token_is_who_it_says() -> None:
    text = issue_token(SECRET, KNOWN.id, "ann", [Surface.STORE, Surface.CRM], timedelta(minutes=5))
    principal = await authenticator().principal(text)
    assert principal.tenant_id == KNOWN.id
    assert principal.subject == "ann"
    assert principal.surfaces == {Surface.STORE, Surface.CRM}


FORGED: dict[str, Callable[[], str | None]] = {
    "none": lambda: None,
    "empty": lambda: "",
    "no key": lambda: "bad",
    "two parts": lambda: "a.b",
    "four parts": lambda: token() + ".x",
    "expired": lambda: token(exp=int(time.time()) - 1),
    "no exp": lambda: token(exp=None),
    "exp is text": lambda: token(exp="soon"),
    "exp is infinite": lambda: forged({"alg": "HS256"}, {"sub": "u", "tenant": str(KNOWN.id), "aud": [], "exp": 1e400}),
    "not yet": lambda: token(nbf=int(time.time()) + 600),
    "no subject": lambda: token(sub=None),
    "no tenant": lambda: token(tenant=None),
    "tenant is a number": lambda: token(tenant=7),
    "unknown tenant": lambda: token(tenant=str(uuid4())),
    "no audience": lambda: token(aud=None),
    "audience is an object": lambda: token(aud=7),
    "other secret": lambda: forged({"alg": "HS256"}, key=b"x" * 40),
    "alg none": lambda: forged({"alg": "none"}),
    "alg None without signature": lambda: forged({"alg": "None"}).rpartition(".")[0] + ".",
    "alg HS512": lambda: jwt.encode(
        {"sub": "u", "tenant": str(KNOWN.id), "aud": ["store"], "exp": int(time.time()) + 60},
        SECRET * 2,
        algorithm="HS512",
    ),
    "alg RS256": lambda: forged({"alg": "RS256"}),
    "no alg": lambda: forged({"typ": "JWT"}),
    "jku": lambda: forged({"alg": "HS256", "jku": "https://evil.example/keys"}, key=b"evil" * 10),
    "critical header": lambda: forged({"alg": "HS256", "crit": ["x"], "x": 1}),
    "cut": lambda: token()[:-2],
    "body is a list": lambda: forged({"alg": "HS256"}, []),  # type: ignore[arg-type]
    "not base64": lambda: "!!.!!.!!",
}


@pytest.mark.parametrize("name", FORGED)
async def test_everything_that_is_not_valid_is_the_same_refusal(name: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await authenticator().principal(FORGED[name]())
    assert refused.value.message == "Authentication required"
    assert await authenticator().surfaces(FORGED[name]()) == frozenset()


async def test_unknown_audience_is_valid_for_nothing() -> None:
    assert await authenticator().surfaces(token(aud=["moon"])) == frozenset()
    assert await authenticator().surfaces(token(aud="store")) == {"store"}


async def test_good_answers_are_remembered_shortly_bad_ones_never() -> None:
    keys = Keys()
    book = authenticator(keys)
    for _ in range(3):
        await book.principal("good")
    assert keys.asked == 1
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await book.principal("bad")
    assert keys.asked == 3


async def test_answer_is_not_kept_beyond_the_end_of_the_token() -> None:
    book, text = authenticator(), token(exp=int(time.time()) + 1)
    await book.principal(text)
    time.sleep(1.1)
    with pytest.raises(Unauthenticated):
        await book.principal(text)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"authorization", b"Bearer abc")], "abc"),
        ([(b"Authorization", b"bearer   abc ")], "abc"),
        ([], None),
        ([(b"authorization", b"Bearer")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", b"Basic abc")], None),
        ([(b"authorization", b"abc")], None),
        ([(b"authorization", b"Bearer \xff\xfe")], None),
        ([(b"authorization", "Bearer schlüssel".encode())], None),
        ([(b"authorization", b"Bearer " + b"x" * 65_536)], None),
        ([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")], None),
    ],
)
def test_bearer_header(headers: list[tuple[bytes, bytes]], expected: str | None) -> None:
    assert bearer({"headers": headers}) == expected  # type: ignore[arg-type]


# --- rates --------------------------------------------------------------------------------------------------------


async def test_rate_is_per_credential_and_says_when_to_come_back() -> None:
    limiter = RateLimiter("3/minute")
    for _ in range(3):
        await limiter.hit("a")
    with pytest.raises(RateLimited) as refused:
        await limiter.hit("a")
    assert 1 <= refused.value.retry_after <= 61
    await limiter.hit("b")


async def test_rate_zero_is_no_limit() -> None:
    limiter = RateLimiter("0")
    for _ in range(5_000):
        await limiter.hit("a")


async def test_rate_is_shared_over_processes_by_redis(redis_url: str) -> None:
    one, two = RateLimiter("2/minute", redis_url), RateLimiter("2/minute", redis_url)
    await one.hit("a")
    await two.hit("a")
    with pytest.raises(RateLimited):
        await one.hit("a")
    await one.close()
    await two.close()


async def test_counter_that_is_down_lets_requests_pass_at_once() -> None:
    limiter = RateLimiter("1/minute", "redis://127.0.0.1:1/0")
    started = time.monotonic()
    for _ in range(100):
        await limiter.hit("a")
    assert time.monotonic() - started < 1
    await limiter.close()
