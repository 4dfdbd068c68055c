from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.errors import InvalidInput
from callboard.ids import ContactId, TenantId
from callboard.links import rules
from callboard.links.model import Link

CONTACT = ContactId(UUID("01890000-0000-7000-8000-000000000007"))
KEY = b"k" * 32
NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://shop.example/sale?x=1&y=2#top", "https://shop.example/sale?x=1&y=2#top"),
        ("HTTPS://Shop.Example", "https://shop.example"),
        ("https://shop.example:8443/a%20b", "https://shop.example:8443/a%20b"),
        (
            "https://shop.example/προσφορά?q=χ",
            "https://shop.example/%CF%80%CF%81%CE%BF%CF%83%CF%86%CE%BF%CF%81%CE%AC?q=%CF%87",
        ),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("http://127.0.0.1:9000/x", "http://127.0.0.1:9000/x"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://shop.example?x=1", "https://shop.example?x=1"),
    ],
)
def test_ordinary_destinations_are_taken_and_come_out_as_ascii(url: str, expected: str) -> None:
    assert rules.check_destination(url, production=False) == expected


BYPASSES = [
    "",
    " https://shop.example",
    "https://shop.example ",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "ftp://shop.example/x",
    "gopher://shop.example",
    "//shop.example",
    "///shop.example",
    "/relative",
    "shop.example",
    "https:shop.example",
    "https:/shop.example",
    "https:///shop.example",
    "https://",
    "https://?x",
    "https://#x",
    "https://.",
    "https://..",
    "https://shop..example",
    "https://-shop.example",
    "https://user@shop.example",
    "https://user:pass@shop.example",
    "https://shop.example@evil.example",
    "https://shop.example%40evil.example",
    "https://@shop.example",
    "https://shop.example\\@evil.example",
    "https://shop.example\\.evil.example",
    "https:\\\\shop.example",
    "https://shop.example/\r\nSet-Cookie: x=1",
    "https://shop.example/\nLocation: x",
    "https://shop.example/\tx",
    "https://shop.example/\x00",
    "https://shop.example/\u2028x",
    "https://shop.exa mple",
    "https://shop.example:99999",
    "https://shop.example:abc",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://0x7f000001",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://1.2.3.4.5",
    "https://shop。example",
    "https://shop．example",
    "https://shop.example<script>",
    'https://shop.example/"onclick=',
    "https://" + "a" * 64 + ".example",
    "https://" + "a." * 130 + "example",
    "https://shop.example/" + "x" * 2048,
    "https://%73hop.example",
    "https://shop.example;evil.example",
    "https://shop.example,evil.example",
    "https://$shop.example",
    "https://*.example",
]  # fmt: skip


@pytest.mark.parametrize("url", BYPASSES)
def test_odd_destinations_are_refused_by_field(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rules.check_destination(url, production=False, field="message")
    assert caught.value.field == "message"


def test_only_https_in_production() -> None:
    with pytest.raises(InvalidInput):
        rules.check_destination("http://shop.example", production=True)
    assert rules.check_destination("https://shop.example", production=True)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("shop.example", True),
        ("SHOP.example", True),
        ("a.b.cdn.example", True),
        ("cdn.example", False),
        ("www.shop.example", False),
        ("shop.example.evil.example", False),
        ("evilshop.example", False),
        ("evil.example", False),
    ],
)
def test_the_allow_list_names_hosts_exactly_or_everything_below_one(host: str, allowed: bool) -> None:
    hosts = ["Shop.example", "*.cdn.example"]
    if allowed:
        assert rules.check_destination(f"https://{host}/x", production=True, allowed_hosts=hosts)
    else:
        with pytest.raises(InvalidInput):
            rules.check_destination(f"https://{host}/x", production=True, allowed_hosts=hosts)


@given(st.text(max_size=30).map(lambda tail: "https://shop.example" + tail) | st.text(max_size=40))
def test_a_destination_that_is_taken_is_printable_ascii_of_the_host_shown(url: str) -> None:
    try:
        taken = rules.check_destination(url, production=True)
    except InvalidInput:
        return
    assert taken.isascii()
    assert taken.isprintable()
    assert " " not in taken
    parts = urlsplit(taken)
    assert parts.scheme == "https"
    assert parts.username is None
    assert rules.check_destination(taken, production=True) == taken


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("Sale: https://shop.example/a.", ["https://shop.example/a"]),
        ("(see https://shop.example/a)", ["https://shop.example/a"]),
        ("https://shop.example/wiki/A_(b)!", ["https://shop.example/wiki/A_(b)"]),
        ("https://a.example, https://b.example; https://a.example", ["https://a.example", "https://b.example"]),
        ("“https://shop.example/a”", ["https://shop.example/a"]),
        ("<https://shop.example/a>", ["https://shop.example/a"]),
        ("HTTP://shop.example?x=1&y={{discount}}", []),
        ("https://shop.example/{{firstName}} https://b.example", ["https://b.example"]),
        ("line\nhttps://shop.example/a\nline", ["https://shop.example/a"]),
        ("no links, http:// alone, xhttps://not.example", []),
        ("https://shop.example/a?b=c...", ["https://shop.example/a?b=c"]),
        ("{{unsubscribeUrl}}", []),
    ],
)
def test_links_are_found_without_the_punctuation_round_them(text: str, urls: list[str]) -> None:
    assert rules.extract_urls(text) == urls


def test_links_are_replaced_in_place_and_everything_else_stays() -> None:
    made: list[str] = []

    def make(url: str) -> str:
        made.append(url)
        return f"https://s.example/r/{len(made)}"

    text = "Hi {{firstName}},\n(see https://a.example/x), https://b.example! https://a.example/x\r\n\tBye"
    assert rules.shorten_urls(text, make) == (
        "Hi {{firstName}},\n(see https://s.example/r/1), https://s.example/r/2! https://s.example/r/1\r\n\tBye"
    )
    assert made == ["https://a.example/x", "https://b.example"]


@given(
    st.lists(
        st.sampled_from(
            ["https://a.example/x", " ", "\n", "(", ")", ".", "word", "{{firstName}}", "https://", "'", "}}"]
        ),
        max_size=12,
    )
)
def test_replacing_a_link_by_itself_changes_nothing(parts: list[str]) -> None:
    text = "".join(parts)
    assert rules.shorten_urls(text, lambda url: url) == text


def test_an_evil_text_is_searched_in_linear_time() -> None:
    evil = "https://" * 5_000 + "(" * 50_000 + ")" * 50_000
    rules.extract_urls(evil)


@pytest.mark.parametrize(
    ("agent", "method", "purpose", "counted"),
    [
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Safari/604.1", "GET", "", True),
        ("Mozilla/5.0 (Linux; Android 9; CUBOT X18)", "GET", "", True),
        ("", "GET", "", True),
        ("Mozilla/5.0", "HEAD", "", False),
        ("WhatsApp/2.23.20.0 A", "GET", "", False),
        ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "GET", "", False),
        ("Twitterbot/1.0", "GET", "", False),
        ("TelegramBot (like TwitterBot)", "GET", "", False),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "GET", "", False),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "GET", "", False),
        ("Mozilla/5.0 SkypeUriPreview Preview/0.5", "GET", "", False),
        ("Mozilla/5.0", "GET", "prefetch;prerender", False),
    ],
)
def test_head_and_link_previews_are_not_counted_as_clicks(agent: str, method: str, purpose: str, counted: bool) -> None:
    assert rules.counts_as_click(method=method, agent=agent, purpose=purpose) is counted


def test_a_link_is_expired_from_its_moment_on() -> None:
    link = Link(
        token="t" * 12, tenant_id=TenantId(UUID(int=1)), url="https://a.example", campaign_id=None, created_at=NOW
    )
    assert not rules.expired(link, NOW + timedelta(days=10_000))
    ending = Link(
        token="t" * 12, tenant_id=link.tenant_id, url=link.url, campaign_id=None, created_at=NOW, expires_at=NOW
    )
    assert rules.expired(ending, NOW)
    assert not rules.expired(ending, NOW - timedelta(microseconds=1))


def test_an_unsubscribe_token_is_32_url_safe_characters_and_names_its_contact() -> None:
    token = rules.unsubscribe_token(CONTACT, KEY)
    assert len(token) == 32
    assert rules.verify_unsubscribe(token, [KEY]) == CONTACT


def test_unsubscribe_tokens_survive_a_change_of_key_while_the_old_one_is_known() -> None:
    token = rules.unsubscribe_token(CONTACT, KEY)
    assert rules.verify_unsubscribe(token, [b"new" * 9, KEY]) == CONTACT
    assert rules.verify_unsubscribe(token, [b"new" * 9]) is None
    assert rules.verify_unsubscribe(token, []) is None


@given(st.uuids(), st.integers(0, 191))
def test_a_forged_unsubscribe_token_is_refused_whichever_bit_was_turned(contact: UUID, bit: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(rules.unsubscribe_token(ContactId(contact), KEY)))
    raw[bit // 8] ^= 1 << bit % 8
    assert rules.verify_unsubscribe(base64.urlsafe_b64encode(raw).decode(), [KEY]) is None


@given(
    st.text(max_size=40) | st.binary(min_size=24, max_size=24).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_made_up_unsubscribe_tokens_are_refused_without_an_error(token: str) -> None:
    assert rules.verify_unsubscribe(token, [KEY]) is None


def test_no_token_without_a_secret() -> None:
    with pytest.raises(ValueError, match="secret"):
        rules.unsubscribe_token(CONTACT, b"")
