"""What the twin accepted and refused: the judge of our tests, because it stands outside the product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

RawHeaders = Sequence[tuple[bytes, bytes]]


class Entry(NamedTuple):
    """One accepted message. ``n`` counts per provider from 1; headers and body are kept raw and read only on demand."""

    n: int
    at: float
    method: str
    path: str
    headers: RawHeaders
    body: bytes
    to: str
    reference: str | None
    provider_message_id: str
    fault: str | None


class Journal:
    """One provider's. In ``counts`` mode only numbers and fingerprints stay in memory."""

    def __init__(self, mode: Literal["full", "counts"]) -> None:
        self.mode: Literal["full", "counts"] = mode
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.accepted = 0
        self.entries: list[Entry] = []
        self.refused: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._references: set[int] = set()
        self._texts: set[int] = set()
        self.doubled_references: Counter[str] = Counter()
        self.doubled_texts = 0

    def accept(
        self,
        at: float,
        method: str,
        path: str,
        headers: RawHeaders,
        body: bytes,
        to: str,
        text: object,
        reference: str | None,
        provider_message_id: str,
        fault: str | None,
    ) -> None:
        """Record one message that is going to be "delivered"."""
        self.accepted += 1
        if reference is not None:
            mark = hash(reference)
            if mark in self._references:
                self.doubled_references[reference] += 1
            else:
                self._references.add(mark)
        mark = hash((to, text))
        if mark in self._texts:
            self.doubled_texts += 1
        else:
            self._texts.add(mark)
        if self.mode == "full":
            self.entries.append(
                Entry(self.accepted, at, method, path, headers, body, to, reference, provider_message_id, fault)
            )

    def received(self, since: int, limit: int | None) -> list[Entry]:
        """Entries with ``n > since``, in order."""
        end = None if limit is None else since + limit
        return self.entries[max(since, 0) : end]

    def stats(self) -> dict[str, Any]:
        """Numbers only. A reference or (recipient, text) seen k times counts k - 1 duplicates."""
        return {
            "accepted": self.accepted,
            "refused": self.refused.total(),
            "refused_by": dict(self.refused),
            "faults": dict(self.faults),
            "references": len(self._references),
            "duplicate_references": self.doubled_references.total(),
            "duplicated": dict(self.doubled_references.most_common(20)),
            "duplicate_texts": self.doubled_texts,
        }


def shown(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Entries as the control API shows them; a body that is JSON appears as such, any other as text."""
    return [
        {
            "n": e.n,
            "at": e.at,
            "method": e.method,
            "path": e.path,
            "headers": {name.decode("latin-1"): value.decode("latin-1") for name, value in e.headers},
            "body": _body(e.body),
            "to": e.to,
            "reference": e.reference,
            "provider_message_id": e.provider_message_id,
            "fault": e.fault,
        }
        for e in entries
    ]


def _body(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode("utf-8", "replace")
