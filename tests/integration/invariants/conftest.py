"""One twin for all, and a street of two shops on SQLite or on both databases."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.integration.invariants.street import Street, street

from callboard_adapters.sandbox.config import SandboxConfig
from callboard_adapters.sandbox.serve import sandbox_thread
from callboard_adapters.sql import schema


@pytest.fixture(scope="session")
def twin() -> Iterator[str]:
    """The provider twin; nobody asked it for reports."""
    with sandbox_thread(SandboxConfig()) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema and nothing else, made once."""
    path = tmp_path_factory.mktemp("invariants") / "empty.db"
    schema.migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def file_url(migrated_file: Path, tmp_path: Path) -> str:
    """A migrated SQLite file of this test's own."""
    shutil.copy(migrated_file, tmp_path / "callboard.db")
    return f"sqlite:///{tmp_path / 'callboard.db'}"


@pytest.fixture
async def shops(file_url: str, twin: str) -> AsyncIterator[Street]:
    """On SQLite."""
    async with street(file_url, twin) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
def both_urls(request: pytest.FixtureRequest) -> str:
    """A migrated database of either kind."""
    if request.param == "sqlite":
        found: str = request.getfixturevalue("file_url")
        return found
    url: str = request.getfixturevalue("pg_url")
    schema.migrate(url)
    return url


@pytest.fixture
async def both(both_urls: str, twin: str) -> AsyncIterator[Street]:
    """On SQLite and on PostgreSQL."""
    async with street(both_urls, twin) as made:
        yield made
