"""The HTTP server: ``callboard serve``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvicorn
import uvloop

from callboard.errors import CoreError
from callboard_adapters.http.app import create_app
from callboard_adapters.http.container import HttpConfig
from callboard_adapters.http.health import Probes
from callboard_adapters.http.metrics import HttpMetrics
from callboard_adapters.http.wiring import services_over
from callboard_adapters.jobs.brokers import memory_broker
from callboard_adapters.jobs.embedded import EmbeddedWorker
from callboard_adapters.jobs.runtime import Pace, WorkerRuntime
from callboard_app.bootstrap import Container, bootstrap, wait_for_schema
from callboard_app.logs import configure
from callboard_app.settings import Settings, SettingsError, load
from callboard_app.worker import worker_name

if TYPE_CHECKING:
    from dramatiq import Broker
    from litestar import Litestar
    from litestar.types import Receive, Scope, Send

_log = structlog.get_logger(__name__)
GRACE_SECONDS: Final = 8
"""What requests in flight, and beside them the embedded worker's provider calls, get to finish."""
DATABASE_SECONDS: Final = 30.0


def run_server(*, host: str, port: int, workers: int) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a graceful end, 1 when it could not start."""
    os.environ.setdefault("CALLBOARD_PUBLIC_URL", f"http://{'127.0.0.1' if host in _ANY else host}:{port}")
    options: dict[str, Any] = {
        "factory": True,
        "host": host,
        "port": port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": GRACE_SECONDS,
        "timeout_keep_alive": 30,
        "lifespan": "on",
    }
    if workers > 1:
        configure(load())
        uvicorn.run("callboard_app.serve:make_app", workers=workers, **options)
        return 0
    server = uvicorn.Server(uvicorn.Config(make_app, **options))
    # After its own shutdown uvicorn raises the signal again; by then everything is closed, so let it pass.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with suppress(SystemExit):  # uvicorn's way to say that the app did not start; the reason is in the log
        server.run()
    return 0 if server.started else 1


_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


def make_app() -> Server:
    """The ASGI app of one server process, from the environment."""
    settings = load()
    configure(settings)
    return Server(settings)


class Server:
    """Opens everything on the server's own loop at start-up, closes it at the end, and is the Litestar app between."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: Litestar | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":  # type: ignore[comparison-overlap]
            await self._live(receive, send)
        else:
            assert self._app is not None
            await self._app(scope, receive, send)

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        async with AsyncExitStack() as stack:
            try:
                self._app = await stack.enter_async_context(serving(self._settings))
            except (CoreError, SettingsError, TimeoutError) as error:
                text = str(error)
                _log.error("server.not_started", reason=text)
                sys.stderr.write(f"callboard serve: {text}\n")
                await send({"type": "lifespan.startup.failed", "message": text})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Litestar]:
    """The app over a container of its own and, without Redis, with a worker beside it."""
    broker = memory_broker() if settings.embedded else None
    async with bootstrap(settings, broker=broker) as container:
        await _database(container)
        metrics = HttpMetrics()
        app = create_app(
            services_over(
                container.store,
                clock=container.clock,
                ids=container.ids,
                campaigns=container.campaigns,
                unsubscribe_keys=(container.unsubscribe_key,),
                metrics=metrics,
                probes=probes(container),
                production=settings.production,
                redirect_allowed_hosts=settings.redirect_allowed_hosts,
            ),
            HttpConfig(
                token_secret=container.token_secret,
                surfaces=[surface.value for surface in settings.surfaces],
                allowed_origins=settings.allowed_origins,
                rate_limit=settings.rate_limit,
                redis_url=None if settings.redis_url is None else settings.redis_url.get_secret_value(),
                production=settings.production,
            ),
            metrics=metrics,
        )
        async with AsyncExitStack() as stack:
            if broker is not None:
                await stack.enter_async_context(_worker_beside(settings, broker))
            await stack.enter_async_context(app.lifespan())
            yield app


def probes(container: Container) -> Probes:
    """What ``/health/ready`` asks: the database is vital, a broker that is down or a missing worker is only named."""

    async def database() -> None:
        async with container.store.system() as s:
            await s.directory.settings_named("")

    async def degraded() -> list[str]:
        try:
            return [] if await container.workers_alive() else ["worker"]
        except CoreError:
            return []

    return Probes(
        vital={"database": database},
        helpful={} if container.settings.redis_url is None else {"broker": container.ping_broker},
        degraded=degraded,
        messages_by_state=container.messages_by_state,
    )


async def _database(container: Container) -> None:
    """Wait for a database that is just starting, but not for ever."""
    gave_up = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(DATABASE_SECONDS, gave_up.set)
    try:
        if not await wait_for_schema(container, gave_up):
            raise TimeoutError(
                f"The database did not answer within {DATABASE_SECONDS:.0f} s; `callboard doctor` says more"
            )
    finally:
        timer.cancel()


@asynccontextmanager
async def _worker_beside(settings: Settings, broker: Broker) -> AsyncIterator[None]:
    """A worker in a thread with its own loop, so that sending does not starve requests; the same signal stops both."""

    @asynccontextmanager
    async def open_runtime() -> AsyncIterator[WorkerRuntime]:
        async with bootstrap(settings, broker=broker) as container:
            pace = Pace(dispatchers=settings.dispatchers, stop=GRACE_SECONDS - 1.0, cancel=1.0)
            yield container.runtime(name=f"{worker_name()}:embedded", pace=pace)

    worker = EmbeddedWorker(open_runtime, loop_factory=uvloop.new_event_loop)
    await asyncio.to_thread(worker.start)
    undo = _before_each_signal(worker.request_stop)
    try:
        yield
    finally:
        undo()
        if not await asyncio.to_thread(worker.stop, GRACE_SECONDS + 1.0):
            _log.error("worker.cut_off")


def _before_each_signal(action: Callable[[], None]) -> Callable[[], None]:
    """Let ``action`` run first when this process is asked to stop; returns how to undo that."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before: Mapping[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: Any) -> None:
        action()
        if callable(then := before[number]):
            then(number, frame)

    for number in before:
        signal.signal(number, handle)

    def undo() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return undo
