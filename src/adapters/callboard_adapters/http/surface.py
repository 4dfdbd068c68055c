"""A surface is one public contract: its handlers, its credentials, its way to say no. And the table of its paths.

Every surface is mounted under ``/<name>`` only; a request for one of the contract's own paths at the root is
re-addressed to its surface before routing (contracts/README.md section 1), so both addresses are the same handler by
construction, and 404, 405 and every other refusal find their dialect by the first path segment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from re import Pattern
from types import MappingProxyType

import attrs
import msgspec
from litestar import Router
from litestar.types import ControllerRouterHandler

from callboard_adapters.http.body import StrictJSON
from callboard_adapters.http.failure import STATUSES, Failure

Render = Callable[[Failure], object]
"""A failure in a dialect: something msgspec can print as JSON."""


@attrs.frozen(kw_only=True)
class CorsPolicy:
    """Who may call from a browser. ``patterns`` match whole origins; a foreign origin simply gets no headers."""

    origins: frozenset[str] = frozenset()
    patterns: tuple[Pattern[str], ...] = ()
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    request_headers: tuple[str, ...] = ("Authorization", "Content-Type", "Accept", "X-Request-ID", "X-Correlation-Id")
    exposed_headers: tuple[str, ...] = ("X-Request-ID", "X-Correlation-Id", "Retry-After", "Location")
    credentials: bool = True

    def allows(self, origin: str) -> bool:
        """Exactly listed, or one of the patterns fits the whole origin."""
        return origin in self.origins or any(pattern.fullmatch(origin) for pattern in self.patterns)


@attrs.frozen(kw_only=True)
class Surface:
    """One contract.

    ``middleware`` goes round its handlers (authentication, rate limit, idempotency), the first one outermost.
    ``problem`` is the wire type of what ``render`` prints, for the API document.
    """

    name: str
    title: str
    handlers: Sequence[ControllerRouterHandler]
    render: Render
    problem: type | None = None
    middleware: Sequence[Callable[..., object]] = ()
    statuses: Mapping[str, int] = STATUSES
    headers: Mapping[str, str] = MappingProxyType({})
    cors: CorsPolicy = CorsPolicy()

    def router(self) -> Router:
        """The surface's routes under its name, bodies decoded strictly."""
        return Router(
            path=f"/{self.name}",
            route_handlers=list(self.handlers),
            middleware=list(self.middleware),  # type: ignore[arg-type]
            dto=StrictJSON,
            return_dto=None,
            tags=[self.title],
        )

    def answer(self, failure: Failure) -> Answer:
        """The failure as this surface's clients expect it."""
        return failure_answer(failure, self.render, self.headers)


@attrs.frozen(kw_only=True)
class Answer:
    """A finished JSON answer: nothing behind it can fail on its content."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def failure_answer(failure: Failure, render: Render, headers: Mapping[str, str] = MappingProxyType({})) -> Answer:
    """Print a failure in a dialect; details that are not JSON become text."""
    body = msgspec.json.encode(render(failure), enc_hook=str)
    return Answer(status=failure.status, body=body, headers={**headers, **failure.headers})


def default_render(failure: Failure) -> object:
    """For paths that belong to no surface."""
    return {
        "success": False,
        "error": failure.code.lower(),
        "message": failure.message,
        "code": failure.code,
    }


ROOT_PATHS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("/api/stats", ("bot",)),
    ("/webhooks/chicx", ("bot",)),
    ("/webhooks/bolna", ("bot",)),
    # one handler for both: the store's receipts come in here until the bot's conversations do
    ("/webhooks/whatsapp", ("bot", "store")),
    ("/api/dashboard", ("crm",)),
    ("/api/leads", ("crm",)),
    ("/api/tasks", ("crm",)),
    ("/api/deals", ("crm",)),
    ("/api/meta", ("crm",)),
    ("/api/webhook", ("crm",)),
    ("/api/settings/config", ("crm",)),
    ("/api/settings/regenerate-key", ("crm",)),
    ("/api/verification", ("assistant",)),
    ("/api/verification-results", ("assistant",)),
    ("/api/campaigns/run", ("assistant",)),
    ("/api/campaign-results", ("assistant",)),
    ("/api/settings/webhooks", ("assistant",)),
    ("/api/settings/campaign-jobs", ("assistant",)),
    ("/api/upload", ("assistant",)),
    ("/api/requests", ("assistant",)),
    # claimed twice: the caller's credential decides, and one that is valid for both means crm
    ("/api/contacts", ("crm", "assistant")),
    ("/api/campaigns", ("crm", "assistant")),
    ("/dashboard", ("store",)),
    ("/campaigns", ("store",)),
    ("/contacts", ("store",)),
    ("/audiences", ("store",)),
    ("/automations", ("store",)),
    ("/templates", ("store",)),
    ("/settings", ("store",)),
    ("/events", ("store",)),
    ("/unsubscribe", ("store",)),
    ("/r", ("store",)),
    ("/webhooks/sms", ("store",)),
    ("/webhooks/shopify", ("store",)),
    ("/integrations", ("booking",)),
    ("/v1", ("booking",)),
    ("/appointments", ("booking",)),
    ("/customers", ("booking",)),
    ("/calls", ("booking",)),
    ("/webhooks/zapier", ("booking",)),
)
"""Root path → surfaces that claim it, the preferred one first; the longest path that fits a request decides."""


@attrs.frozen(kw_only=True)
class Surfaces:
    """The surfaces this process serves."""

    served: tuple[Surface, ...]
    _by_name: Mapping[str, Surface] = attrs.field(init=False)
    _roots: Mapping[str, tuple[str, ...]] = attrs.field(init=False, factory=lambda: dict(ROOT_PATHS))

    @_by_name.default
    def _index(self) -> Mapping[str, Surface]:
        return {surface.name: surface for surface in self.served}

    def owner(self, path: str) -> Surface | None:
        """The surface under whose name ``path`` lies."""
        return self._by_name.get(path.split("/", 2)[1]) if path.startswith("/") else None

    def claimants(self, path: str) -> tuple[Surface, ...]:
        """The served surfaces that claim a path at the root, the preferred one first; none for anything else."""
        parts = path.split("/")
        for end in range(min(len(parts), 4), 1, -1):
            names = self._roots.get("/".join(parts[:end]))
            if names is not None:
                return tuple(self._by_name[name] for name in names if name in self._by_name)
        return ()
