"""Texts with ``{{placeholders}}``: compiled once per run, rendered per recipient; contracts/README.md section 4."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from callboard.errors import InvalidInput
from callboard.values import clean_text

FIRST_NAME, LAST_NAME = "firstName", "lastName"
DISCOUNT, SHOP_NAME, UNSUBSCRIBE_URL = "discount", "shopName", "unsubscribeUrl"
KNOWN = (FIRST_NAME, LAST_NAME, DISCOUNT, SHOP_NAME, UNSUBSCRIBE_URL)
UNSUBSCRIBE_LINE = "\nUnsubscribe: {{unsubscribeUrl}}"
MAX_TEXT = 1600

_BY_FOLDED = {name.casefold(): name for name in KNOWN}
_BRACES = re.compile(r"\{{2,}|\}{2,}")


@attrs.frozen
class Placeholder:
    """``{{name|fallback}}``: ``name`` in its canonical spelling when it is a known one."""

    name: str
    fallback: str = ""


@attrs.frozen(kw_only=True)
class Template:
    """A compiled text: literal pieces and placeholders in order."""

    parts: tuple[str | Placeholder, ...]

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names used, each once, in order of appearance."""
        return tuple(dict.fromkeys(p.name for p in self.parts if isinstance(p, Placeholder)))

    @property
    def unknown(self) -> tuple[str, ...]:
        """The names used that no value ever stands behind: they always vanish."""
        return tuple(name for name in self.placeholders if name not in KNOWN)

    def missing(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """The names that have neither a value nor a fallback everywhere they stand."""
        gone = (p.name for p in self.parts if isinstance(p, Placeholder) and not (p.fallback or _value(p.name, values)))
        return tuple(dict.fromkeys(gone))

    def render(self, values: Mapping[str, str]) -> str:
        """The text for one recipient, in time linear in text and values.

        A value is data: whitespace in it becomes single spaces and placeholders in it are not looked at. One that is
        missing or blank is replaced by its fallback or vanishes with the space before it (at the start of a line: the
        space after it). Line breaks stay. The result never holds ``{{`` or ``}}``.
        """
        out: list[str] = []
        vanished = False  # the part before was a placeholder that vanished
        swallow = False  # it stood at the start of a line: the next space goes with it
        for part in self.parts:
            if isinstance(part, str):
                text = part[1:] if swallow and part.startswith(" ") else part
            else:
                text = _value(part.name, values) or part.fallback
                if not text:
                    if not vanished:
                        swallow = not out or out[-1].endswith("\n")
                        _drop_space(out)
                    vanished = True
                    continue
            if text:
                out.append(text)
            vanished = swallow = False
        return _BRACES.sub(lambda run: run[0][0], "".join(out))


def compile_text(text: str, *, marketing: bool = False) -> Template:
    """Read a text; nothing in it is an error here. Linear time, also for thousands of braces.

    A placeholder is the innermost ``{{ … }}``; spaces inside are free, names are compared without regard to case and
    underscores (``first_name``). Braces without a partner are ordinary text. ``marketing`` appends the unsubscribe
    line unless the text already places ``{{unsubscribeUrl}}``.
    """
    parts: list[str | Placeholder] = []
    position = 0
    while (end := text.find("}}", position)) >= 0:
        start = text.rfind("{{", position, end)
        if start < 0:
            parts.append(text[position : end + 2])
        else:
            parts.append(text[position:start])
            name, _, fallback = text[start + 2 : end].partition("|")
            name = name.strip()
            name = _BY_FOLDED.get(name.replace("_", "").casefold(), name)
            parts.append(Placeholder(name, " ".join(fallback.split())))
        position = end + 2
    parts.append(text[position:])
    template = Template(parts=tuple(p for p in parts if p))
    if marketing and UNSUBSCRIBE_URL not in template.placeholders:
        return compile_text(text + UNSUBSCRIBE_LINE)
    return template


def check_text(text: str, *, field: str = "message") -> str:
    """Validation at save: 1..1600 characters a database can hold, and something that a customer will read.

    Unknown placeholders and odd braces are allowed (they render to nothing or to themselves); a text of nothing but
    unknown placeholders is not.
    """
    clean_text(text, field=field, min_length=1, max_length=MAX_TEXT)
    if not compile_text(text).render(dict.fromkeys(KNOWN, "x")).strip():
        raise InvalidInput("Nothing of this text would reach a customer", field=field)
    return text


def _drop_space(out: list[str]) -> None:
    """Take one space off the end; only once per run of vanished placeholders, or 10,000 of them would be quadratic."""
    if out and out[-1].endswith(" "):
        out[-1] = out[-1][:-1]
        if not out[-1]:
            out.pop()


def _value(name: str, values: Mapping[str, str]) -> str:
    return " ".join(values[name].split()) if name in values else ""
