"""One whole stack per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.chaos.stack import Stack


@pytest.fixture
def stack(tmp_path: Path, pg_url: str) -> Iterator[Stack]:
    """A running API with its servers and no worker yet."""
    made = Stack(tmp_path, pg_url)
    try:
        made.start()
        yield made
    finally:
        print(made.logs())  # pytest shows it when the test failed
        made.stop()
