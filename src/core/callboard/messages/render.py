"""From a run's frozen content and one candidate to the message a provider is asked to carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from callboard.ids import ContactId, MessageId, RunId
from callboard.messages.model import Candidate, Content, Purpose, Run
from callboard.messages.ports import Outbound
from callboard.messages.templates import FIRST_NAME, LAST_NAME, UNSUBSCRIBE_URL, Template, compile_text

UnsubscribeToken = Callable[[ContactId], str]
"""The stateless token that stands for a contact in an unsubscribe link."""


@attrs.frozen(kw_only=True)
class Renderer:
    """A run's texts, compiled once for all its recipients. ``body`` is set when nothing in the text is literal."""

    run_id: RunId
    content: Content
    text: Template
    body: Template | None
    parameters: tuple[Template, ...]
    button: Template | None
    token: UnsubscribeToken

    @classmethod
    def of(cls, run: Run, token: UnsubscribeToken) -> Renderer:
        """Compile; marketing text gets its unsubscribe line here, so no path can leave it out."""
        content, template = run.content, run.content.template
        own = compile_text(content.text)
        return cls(
            run_id=run.id,
            content=content,
            text=compile_text(content.text, marketing=run.purpose is Purpose.MARKETING),
            body=None if own.render({}).strip() else own,
            parameters=tuple(compile_text(p) for p in template.body) if template else (),
            button=compile_text(template.button_suffix) if template and template.button_suffix else None,
            token=token,
        )

    def render(self, candidate: Candidate) -> tuple[Outbound, tuple[str, ...]]:
        """The message for one recipient, and the names of what it lacks and cannot go without.

        That is: any parameter of a provider's template (it would refuse an empty one), a plain text of which nothing
        is left, and the unsubscribe link of a marketing text. Other missing names vanished with their space.
        """
        values = self._values(candidate)
        message = Outbound(
            reference=MessageId(self.run_id, candidate.seq),
            to=candidate.phone,
            text=self.text.render(values),
            content=self.content,
            parameters=tuple(p.render(values) for p in self.parameters),
            button_suffix=self.button.render(values) if self.button else None,
        )
        return message, self._missing(message, values)

    def _missing(self, message: Outbound, values: Mapping[str, str]) -> tuple[str, ...]:
        if self.content.template is not None:
            empty = [str(number) for number, text in enumerate(message.parameters, 1) if not text.strip()]
            return (*empty, "button") if self.button is not None and not message.button_suffix else tuple(empty)
        if UNSUBSCRIBE_URL in self.text.placeholders and UNSUBSCRIBE_URL not in values:
            return (UNSUBSCRIBE_URL,)
        if self.body is not None and not self.body.render({**values, UNSUBSCRIBE_URL: ""}).strip():
            return ("text",)
        return ()

    def _values(self, candidate: Candidate) -> dict[str, str]:
        values = dict(self.content.values)
        if candidate.first_name:
            values[FIRST_NAME] = candidate.first_name
        if candidate.last_name:
            values[LAST_NAME] = candidate.last_name
        if self.content.unsubscribe_base and candidate.contact_id is not None:
            values[UNSUBSCRIBE_URL] = f"{self.content.unsubscribe_base.rstrip('/')}/{self.token(candidate.contact_id)}"
        return values
