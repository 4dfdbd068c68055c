"""What the readers of both kinds of file share: a record, its limits, and the one refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from callboard.contacts.model import RowError
from callboard.errors import InvalidInput

Record = tuple[int, Sequence[str] | RowError]
"""A line number with its cells in order."""

MAX_COLUMNS: Final = 500


def refused(message: str) -> InvalidInput:
    """The one error of this package: the file cannot be read, and why."""
    return InvalidInput(message, field="file")
