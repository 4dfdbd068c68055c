"""Running the twin: for the command line, in a thread beside a test, or as a process of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import uvicorn

from callboard_adapters.sandbox.app import Sandbox, create_sandbox
from callboard_adapters.sandbox.asgi import TwinProtocol
from callboard_adapters.sandbox.config import SandboxConfig


def _server(app: Sandbox, host: str, port: int) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=TwinProtocol,
            ws="none",
            lifespan="on",
            access_log=False,
            log_level="warning",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
            backlog=1024,
            server_header=False,
            date_header=False,
        )
    )


def run_sandbox(host: str = "127.0.0.1", port: int = 8787, config: SandboxConfig | None = None) -> None:
    """Serve a twin until SIGINT or SIGTERM."""
    _server(create_sandbox(config), host, port).run()


@contextlib.contextmanager
def sandbox_thread(config: SandboxConfig | None = None) -> Iterator[str]:
    """A twin in a thread of this process, on a free port of the loopback; yields its base URL."""
    server = _server(create_sandbox(config), "127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True)
        thread.start()
        deadline = time.monotonic() + 10
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("The sandbox did not start")
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)


@contextlib.contextmanager
def sandbox_process(config: SandboxConfig | None = None) -> Iterator[str]:
    """A twin in a process of its own (for benchmarks and for tests that kill ours); yields its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = msgspec.json.encode(config or SandboxConfig()).decode()
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-m", "callboard_adapters.sandbox", "--port", str(port), "--config", text]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)  # noqa: S603 - our own module
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_ready(url, process)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            if httpx.get(f"{url}/_control/health", timeout=1, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("The sandbox did not start")
        time.sleep(0.05)


def read_config(text: str) -> SandboxConfig:
    """A configuration as JSON, or the name of a file with it after ``@``."""
    raw = Path(text[1:]).read_text() if text.startswith("@") else text
    return msgspec.convert(json.loads(raw), SandboxConfig)
