"""Texts with placeholders."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.errors import InvalidInput
from callboard.messages.templates import KNOWN, check_text, compile_text


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        (
            "Hello {{firstName}}, use code {{discount}}!",
            {"firstName": "Asha", "discount": "S20"},
            "Hello Asha, use code S20!",
        ),
        ("Hello {{ firstName }}!", {"firstName": "Asha"}, "Hello Asha!"),
        ("Hello {{first_name}} {{FIRSTNAME}}!", {"firstName": "Asha"}, "Hello Asha Asha!"),
        ("Hello {{firstName|there}}!", {}, "Hello there!"),
        ("Hello {{firstName | dear friend }}!", {"firstName": " "}, "Hello dear friend!"),
        ("Hello {{firstName|there}}!", {"firstName": "Asha"}, "Hello Asha!"),
        ("Hello {{firstName}}!", {}, "Hello!"),
        ("Hi {{firstName}} {{lastName}}, ok", {}, "Hi, ok"),
        ("{{firstName}} you win", {}, "you win"),
        ("a\n{{firstName}} b\n\nc", {}, "a\nb\n\nc"),
        ("a\r\nb {{nothing}}\tc", {}, "a\r\nb\tc"),
        ("x {{orderId}} y", {"orderId": "17"}, "x 17 y"),
        ("x {{orderId}} y", {}, "x y"),
        ("{{{firstName}}}", {"firstName": "A"}, "{A}"),
        ("open {{firstName", {"firstName": "A"}, "open {firstName"),
        ("close firstName}} x", {}, "close firstName} x"),
        ("{{ {{firstName}} }}", {"firstName": "A"}, "{ A }"),
        ("Hi {{firstName}}", {"firstName": "{{discount}}", "discount": "no"}, "Hi {discount}"),
        ("Hi {{firstName}}", {"firstName": "Anna\n  Maria"}, "Hi Anna Maria"),
        ("{{}} {{|x}}", {}, "x"),
        ("कैसे {{firstName}} 👋", {"firstName": "आशा"}, "कैसे आशा 👋"),
    ],
)
def test_rendering(text: str, values: dict[str, str], expected: str) -> None:
    assert compile_text(text).render(values) == expected


pieces = st.sampled_from(
    ["{{", "}}", "{", "}", "|", " ", "\n", "firstName", "discount", "x", "{{firstName}}", "{{a|b}}", "é"]
)
texts = st.lists(pieces, max_size=40).map("".join)
values = st.dictionaries(st.sampled_from(KNOWN), st.text(max_size=8) | texts, max_size=5)


@given(texts, values)
def test_no_placeholder_ever_reaches_a_customer(text: str, given_: dict[str, str]) -> None:
    for marketing in (False, True):
        rendered = compile_text(text, marketing=marketing).render(given_)
        assert "{{" not in rendered
        assert "}}" not in rendered


@given(st.text(alphabet=st.characters(exclude_characters="{}"), max_size=60))
def test_text_without_braces_is_sent_exactly_as_written(text: str) -> None:
    assert compile_text(text).render({}) == text


@given(texts, values)
def test_line_breaks_of_the_text_stay(text: str, given_: dict[str, str]) -> None:
    template = compile_text(text)
    literal = sum(part.count("\n") for part in template.parts if isinstance(part, str))
    assert template.render(given_).count("\n") == literal


@pytest.mark.parametrize(
    "text", ["Sale!", "Sale {{firstName}}", "", "broken {{unsubscribeUrl", "{{unsubscribeUrl", "}}"]
)
def test_marketing_text_always_ends_with_an_unsubscribe_link(text: str) -> None:
    rendered = compile_text(text, marketing=True).render({"unsubscribeUrl": "https://u/1"})
    assert rendered.endswith("https://u/1")


def test_an_unsubscribe_link_that_the_text_places_is_not_repeated() -> None:
    text = "Stop: {{ unsubscribe_url }} ok"
    assert compile_text(text, marketing=True).render({"unsubscribeUrl": "U"}) == "Stop: U ok"


@pytest.mark.parametrize(
    "evil",
    [
        "{{" * 10_000,
        "}}" * 10_000,
        "{{a}}" * 10_000,
        " " * 20_000 + "{{a}}" * 5_000,
        "{{ " * 8_000 + "}}" * 8_000,
        "{{a|" * 8_000 + "}}",
        "{{a}} " * 5_000,
    ],
)
def test_evil_texts_take_linear_time(evil: str) -> None:
    """Sixteen times the text takes about 16 times as long, where a quadratic way would take 256 times as long.

    A ratio in one run, with room for a busy machine: no time of its own is promised.
    """

    def seconds(text: str) -> float:
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            compile_text(text, marketing=True).render({})
            best = min(best, time.process_time() - start)
        return best

    assert seconds(evil * 4) < 100 * max(seconds(evil[: len(evil) // 4]), 0.001)


def test_names_are_listed_once_and_unknown_ones_told_apart() -> None:
    template = compile_text("{{first_name}} {{orderId}} {{firstName|x}} {{discount}}")
    assert template.placeholders == ("firstName", "orderId", "discount")
    assert template.unknown == ("orderId",)
    assert template.missing({"discount": "S"}) == ("firstName", "orderId")


@pytest.mark.parametrize("text", ["", "   ", "\x00", "a\ud800", "x" * 1601, "{{unknownOne}}", " {{a}} {{b}} "])
def test_text_that_cannot_be_stored_or_would_reach_nobody_is_refused_at_save(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_text(text)
    assert refusal.value.field == "message"


@pytest.mark.parametrize("text", ["x" * 1600, "{{firstName}}", "{{oops}} but text", "{{", "<b>5 > 3</b> & 'x'"])
def test_odd_but_harmless_text_is_stored_as_given(text: str) -> None:
    assert check_text(text) == text
