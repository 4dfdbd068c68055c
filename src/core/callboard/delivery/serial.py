"""Events as the outbox stores them: JSON text under their type's name and version."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from cattrs.preconf.json import make_converter

from callboard.events import Event

_converter = make_converter()
_converter.register_unstructure_hook(UUID, str)
_converter.register_structure_hook(UUID, lambda value, _: UUID(value))


class UnknownEvent(LookupError):
    """No event class of this type and version is loaded: written by a newer version, or its module is not imported."""


def dump_event(event: Event) -> str:
    """The event's own fields as JSON; type and version are stored beside it."""
    return _converter.dumps(event, unstructure_as=type(event))


def load_event(type: str, version: int, text: str) -> Event:  # noqa: A002 - the field's own name
    """The event that :func:`dump_event` wrote. Raises :class:`UnknownEvent`; fields it does not know are ignored."""
    kind = _kinds().get((type, version))
    if kind is None:
        raise UnknownEvent(f"{type} v{version}")
    return _converter.loads(text, kind)


def _kinds() -> dict[tuple[str, int], type[Event]]:
    """Every loaded event class by (type, version): being a subclass is enough, so no list can lag behind."""
    return {(kind.type, kind.version): kind for kind in _subclasses(Event)}


def _subclasses(kind: type[Event]) -> Iterator[type[Event]]:
    for sub in kind.__subclasses__():
        # attrs makes a second, slotted class of each; the plain first one may still be listed and is not meant.
        if "__attrs_attrs__" in vars(sub) and "type" in vars(sub):
            yield sub
        yield from _subclasses(sub)
