"""The project's jobs; ``nox -l`` lists them. Everything installs through constraints.txt."""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "types", "imports", "core_alone", "tests"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True


def install(session: nox.Session, *extras: str) -> None:
    session.install("-q", "-c", "constraints.txt", "-e", f".[{','.join(extras)}]")


@nox.session
def demo(session: nox.Session) -> None:
    """Set up and run the main job: a demo shop, a campaign, a report."""
    session.install("-q", "-c", "constraints.txt", ".[server]")
    session.run("callboard", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests: real PostgreSQL, a real Redis-protocol server, the provider twin."""
    install(session, "server", "test")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    install(session, "server", "test", "dev")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Strict mypy over sources, tests, examples and benches."""
    install(session, "server", "test", "dev")
    session.run("mypy")


@nox.session
def imports(session: nox.Session) -> None:
    """The rings and contexts depend on each other in one direction only."""
    install(session, "server", "dev")
    session.run("lint-imports")


@nox.session
def core_alone(session: nox.Session) -> None:
    """The core works by itself: no extras, no server, no database."""
    session.install("-q", "-c", "constraints.txt", ".")
    session.run("python", "examples/embed_core.py")
    for module in ("sqlalchemy", "litestar", "dramatiq", "httpx"):
        session.run("python", "-c", f"import importlib.util as u; assert u.find_spec('{module}') is None")


@nox.session
def bench(session: nox.Session) -> None:
    """Speed: ratios to the physical limit, measured in one run."""
    install(session, "server", "test")
    session.run("python", "-m", "bench", *session.posargs)
