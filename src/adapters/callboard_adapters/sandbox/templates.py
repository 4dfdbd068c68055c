"""Template checks of the Cloud API twin: does what was sent fit what was approved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from callboard_adapters.sandbox.config import TemplateConfig

STATUS_CODES: Final[Mapping[str, int]] = {"PAUSED": 132015, "DISABLED": 132016}
_HEADER_KINDS: Final[Mapping[str, str]] = {
    "TEXT": "text",
    "IMAGE": "image",
    "VIDEO": "video",
    "DOCUMENT": "document",
    "LOCATION": "location",
}


class Refusal(Exception):
    """The template or its parameters are not accepted: a code of Meta's table and the details."""

    def __init__(self, code: int, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


def _parameters(components: Sequence[Any], kind: str) -> list[Any]:
    found: list[Any] = []
    for component in components:
        if isinstance(component, dict) and str(component.get("type", "")).lower() == kind:
            given = component.get("parameters")
            found.extend(given if isinstance(given, list) else [])
    return found


def check(sent: object, registry: Mapping[tuple[str, str], TemplateConfig], *, any_template: bool) -> str:
    """The category of the template, or :class:`Refusal`."""
    if not isinstance(sent, dict) or not isinstance(sent.get("name"), str):
        raise Refusal(131008, "template.name is missing")
    language = sent.get("language")
    code = language.get("code") if isinstance(language, dict) else None
    if not isinstance(code, str):
        raise Refusal(131008, "template.language.code is missing")
    components = sent.get("components") or []
    if not isinstance(components, list):
        raise Refusal(131009, "template.components is not a list")
    template = registry.get((sent["name"], code))
    if template is None:
        if any_template:
            return "MARKETING"
        raise Refusal(132001, f"template name ({sent['name']}) does not exist in {code}")
    if template.status != "APPROVED":
        raise Refusal(STATUS_CODES.get(template.status, 132001), "the template is not approved")
    _check_body(template, _parameters(components, "body"))
    _check_header(template, _parameters(components, "header"))
    _check_button(template, components)
    return template.category


def _check_body(template: TemplateConfig, body: Sequence[Any]) -> None:
    if len(body) != template.body:
        raise Refusal(132000, f"body: number of localizable_params ({len(body)}) does not match ({template.body})")
    for parameter in body:
        kind = parameter.get("type") if isinstance(parameter, dict) else None
        if kind not in {"text", "currency", "date_time"}:
            raise Refusal(132012, "body: parameter format does not match")
        text = parameter.get("text")
        if kind == "text" and (not isinstance(text, str) or not text):
            raise Refusal(131008, "body: text of a parameter is missing")
        if kind == "text" and ("\n" in text or "\t" in text or "     " in text):
            raise Refusal(132012, "body: new lines, tabs or more than 4 spaces in a parameter")
        if kind == "text" and len(text) > 1024:
            raise Refusal(132005, "body: the translated text is too long")


def _check_header(template: TemplateConfig, header: Sequence[Any]) -> None:
    expected = 0
    if template.header is not None:
        expected = template.header_parameters if template.header == "TEXT" else 1
    if len(header) != expected:
        format_name = template.header or "none"
        raise Refusal(132012, f"header: format mismatch, expected {format_name}, received {len(header)} parameters")
    for parameter in header:
        kind = parameter.get("type") if isinstance(parameter, dict) else None
        if kind != _HEADER_KINDS.get(template.header or ""):
            raise Refusal(132012, f"header: format mismatch, expected {template.header}, received {kind}")
        medium = parameter.get(kind)
        if kind in {"image", "video", "document"}:
            link = medium.get("link") if isinstance(medium, dict) else None
            if not (isinstance(medium, dict) and (medium.get("id") or isinstance(link, str))):
                raise Refusal(131008, "header: neither link nor id of the medium")
            if isinstance(link, str) and not link.startswith("https://"):
                raise Refusal(131052, "header: the link of the medium is not https")


def _check_button(template: TemplateConfig, components: Sequence[Any]) -> None:
    buttons = [c for c in components if isinstance(c, dict) and str(c.get("type", "")).lower() == "button"]
    if template.button and not buttons:
        raise Refusal(131008, "button: parameter of the URL button is missing")
    if not template.button and buttons:
        raise Refusal(132018, "button: the template has no button with a parameter")
    for button in buttons:
        if button.get("sub_type") != "url" or str(button.get("index")) != "0":
            raise Refusal(132018, "button: sub_type must be url and index 0")
        parameters = button.get("parameters")
        first = parameters[0] if isinstance(parameters, list) and parameters else None
        text = first.get("text") if isinstance(first, dict) and first.get("type") == "text" else None
        if not isinstance(text, str) or not text:
            raise Refusal(131008, "button: text of the URL suffix is missing")
        if template.category == "AUTHENTICATION":
            body = _parameters(components, "body")
            if len(text) > 15 or text != (body[0].get("text") if body else None):
                raise Refusal(132018, "button: the code must be the one of the body, at most 15 characters")
