"""A set of tags as one text that either database can search for one whole tag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

TAG_END: Final = "\x1f"
"""Stands before, between and after tags: ``"\\x1fnew\\x1fvip\\x1f"``; the empty text holds none."""


def encode_tag(tag: str) -> str:
    """The tag without a ``TAG_END`` in it; reversible."""
    return tag.replace("\x1e", "\x1e0").replace(TAG_END, "\x1e1") if "\x1e" in tag or TAG_END in tag else tag


def join_tags(tags: Iterable[str]) -> str:
    """The stored form, sorted, so that equal sets are equal texts."""
    encoded = sorted(encode_tag(tag) for tag in tags)
    return f"{TAG_END}{TAG_END.join(encoded)}{TAG_END}" if encoded else ""


def split_tags(text: str) -> frozenset[str]:
    """What :func:`join_tags` stored."""
    if not text:
        return frozenset()
    parts = text[1:-1].split(TAG_END)
    return frozenset(part.replace("\x1e1", TAG_END).replace("\x1e0", "\x1e") for part in parts)
