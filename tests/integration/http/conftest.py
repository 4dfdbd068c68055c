"""The app on a fresh database, on SQLite or (``CALLBOARD_TEST_HTTP=postgresql``) on PostgreSQL."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.http.shop import World, world

from callboard_adapters.sql import schema


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema and nothing else, made once."""
    path = tmp_path_factory.mktemp("schema") / "empty.db"
    schema.migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database of this test's own."""
    if os.environ.get("CALLBOARD_TEST_HTTP") == "postgresql":
        url: str = request.getfixturevalue("pg_url")
        schema.migrate(url)
        return url
    path = tmp_path / "callboard.db"
    shutil.copy(request.getfixturevalue("empty_file"), path)
    return f"sqlite:///{path}"


@pytest.fixture
async def shops(database_url: str) -> AsyncIterator[World]:
    """The app with two shops."""
    async with world(database_url) as made:
        yield made
