"""Faults on demand: which calls they hit and what those calls meet instead of a proper answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Kind = Literal["status", "timeout", "reset_before", "reset_after", "endless", "truncated", "garbage", "reject", "no_id"]
ENTRY_KINDS: Final = frozenset({"reject", "no_id"})
"""Faults of one message inside a 2xx answer; all others hit the call as a whole."""


class FaultSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``POST /_control/faults`` takes. At most one of ``next``, ``every``, ``always``; without any: the next call.

    ``match``: fields of the call (``to``, ``text``, ``template``, ``reference``, ``sender``, ``path``); a value must be
    equal, with the suffix ``_suffix``/``_contains`` on the name it must end so or be contained. ``accept``: whether the
    message counts as taken (and gets its callbacks); by default yes except for ``status`` and ``reset_before``.
    """

    kind: Kind
    provider: str | None = None
    endpoint: Literal["send", "read", "any"] = "send"
    next: Annotated[int, Meta(ge=1)] | None = None
    every: Annotated[int, Meta(ge=1)] | None = None
    always: bool = False
    match: Mapping[str, str] = {}
    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    code: int | str | None = None
    subcode: int | None = None
    message: str = "Injected fault"
    retry_after: Annotated[int, Meta(ge=0)] | None = None
    body: str | None = None
    seconds: Annotated[float, Meta(ge=0, le=3600)] = 60.0
    accept: bool | None = None

    @property
    def accepts(self) -> bool:
        """Whether the message is taken although the answer goes wrong."""
        return self.kind not in {"status", "reset_before", "reject", "no_id"} if self.accept is None else self.accept


class Fault:
    """A rule that is in force, and how often it was asked and hit."""

    def __init__(self, identity: int, spec: FaultSpec) -> None:
        self.id, self.spec = identity, spec
        self.seen = 0
        self.hits = 0
        self.left: int | None = spec.next if spec.next or spec.every or spec.always else 1

    def hit(self, fields: Mapping[str, str]) -> bool:
        """Whether this call is one of those; counts it."""
        if not all(_matches(name, wanted, fields) for name, wanted in self.spec.match.items()):
            return False
        self.seen += 1
        if self.left is not None:
            if self.left == 0:
                return False
            self.left -= 1
        elif self.spec.every is not None and self.seen % self.spec.every:
            return False
        self.hits += 1
        return True


def _matches(name: str, wanted: str, fields: Mapping[str, str]) -> bool:
    if name.endswith("_suffix"):
        return fields.get(name.removesuffix("_suffix"), "").endswith(wanted)
    if name.endswith("_contains"):
        return wanted in fields.get(name.removesuffix("_contains"), "")
    return fields.get(name) == wanted


class Faults:
    """All rules, first match wins."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self._ids = 0

    def add(self, spec: FaultSpec) -> Fault:
        """Put a rule in force."""
        self._ids += 1
        fault = Fault(self._ids, spec)
        self.rules.append(fault)
        return fault

    def remove(self, identity: int | None) -> int:
        """Lift one rule, or all; returns how many."""
        before = len(self.rules)
        self.rules = [] if identity is None else [f for f in self.rules if f.id != identity]
        return before - len(self.rules)

    def pick(self, provider: str, endpoint: str, fields: Mapping[str, str], *, entry: bool = False) -> FaultSpec | None:
        """The fault this call (or, with ``entry``, this message of a call) meets, if any."""
        for fault in self.rules:
            spec = fault.spec
            if (
                (spec.kind in ENTRY_KINDS) is entry
                and spec.provider in {None, provider}
                and spec.endpoint in {"any", endpoint}
                and fault.hit(fields)
            ):
                return spec
        return None
