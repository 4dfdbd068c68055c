"""Settings come from named variables, refuse what cannot be used with advice, and never show a secret."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from callboard.tenants.model import Surface
from callboard.tenants.settings import SECRETS
from callboard_app import settings as module
from callboard_app.settings import (
    Environment,
    LogFormat,
    Providers,
    Settings,
    SettingsError,
    load,
    sqlite_file,
    variables,
)

KEY = "0123456789abcdef0123456789abcdef"


def test_without_any_variable_the_embedded_default_comes_out() -> None:
    settings = load({})
    assert settings.database_url.get_secret_value() == "sqlite:///callboard.db"
    assert settings.embedded
    assert not settings.production
    assert settings.providers is Providers.LIVE
    assert settings.surfaces == list(Surface)
    assert settings.rate_limit == "1200/minute"
    assert settings.default_credits == 1_000
    assert settings.reconcile_seconds == 86_400
    assert settings.tenant == {}


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("CALLBOARD_ENV", "production", "environment", Environment.PRODUCTION),
        ("CALLBOARD_PROVIDERS", "sandbox", "providers", Providers.SANDBOX),
        ("CALLBOARD_PUBLIC_URL", "https://cb.example.com/x", "public_url", "https://cb.example.com/x"),
        ("CALLBOARD_SURFACES", "store, bot,", "surfaces", [Surface.STORE, Surface.BOT]),
        (
            "ALLOWED_ORIGINS",
            "https://a.example,http://b.example:81",
            "allowed_origins",
            ["https://a.example", "http://b.example:81"],
        ),
        ("REDIRECT_ALLOWED_HOSTS", "shop.example , x.example", "redirect_allowed_hosts", ["shop.example", "x.example"]),
        ("CALLBOARD_WEBHOOK_ALLOWLIST", "127.0.0.1:9000,[::1]:80", "webhook_allowlist", ["127.0.0.1:9000", "[::1]:80"]),
        ("CALLBOARD_RATE_LIMIT", "0", "rate_limit", "0"),
        ("CALLBOARD_WHATSAPP_MPS", "1000", "whatsapp_per_second", 1000.0),
        ("CALLBOARD_DEFAULT_CREDITS", "0", "default_credits", 0),
        ("CALLBOARD_RECONCILE_SECONDS", "30", "reconcile_seconds", 30),
        ("CALLBOARD_LOG_FORMAT", "json", "log_format", LogFormat.JSON),
        ("URL_SHORTENER_BASE_URL", "https://s.example", "short_url", "https://s.example"),
    ],
)
def test_each_variable_sets_its_setting(name: str, text: str, attribute: str, value: object) -> None:
    assert getattr(load({name: text}), attribute) == value


def test_every_setting_has_a_variable_and_no_variable_sets_two() -> None:
    names = variables()
    assert set(names) == {field.name for field in attrs.fields(Settings)} - {"tenant"}
    assert len(set(names.values())) == len(names)
    assert not set(names.values()) & SECRETS


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("CALLBOARD_ENV", "prod", "write one of development, production"),
        ("CALLBOARD_PROVIDERS", "fake", "write one of live, sandbox"),
        ("CALLBOARD_SURFACES", "store,shop", "write one of store, bot, crm, assistant, booking"),
        ("CALLBOARD_RATE_LIMIT", "fast", "1200/minute"),
        ("CALLBOARD_DEFAULT_CREDITS", "-1", "write a number from 0"),
        ("CALLBOARD_DEFAULT_CREDITS", "many", "write a number"),
        ("CALLBOARD_SEND_CONCURRENCY", "0", "write a number from 1"),
        ("CALLBOARD_PUBLIC_URL", "callboard.example.com", "https://callboard.example.com"),
        ("CALLBOARD_DATABASE_URL", "mysql://me:geheim@db/x", "postgresql://user:password@host/database"),
        ("CALLBOARD_REDIS_URL", "amqp://me:geheim@mq", "redis://host:6379/0"),
        ("CALLBOARD_WEBHOOK_ALLOWLIST", "http://127.0.0.1", "host:port"),
        ("ALLOWED_ORIGINS", "a.example", "https://shop.example.com"),
        ("REDIRECT_ALLOWED_HOSTS", "https://a.example", "shop.example.com"),
        ("CALLBOARD_LOG_LEVEL", "loud", "debug, info, warning or error"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name_with_advice_and_is_not_repeated(
    name: str, text: str, advice: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load({name: text})
    assert str(refused.value).startswith(f"{name}: ")
    assert advice in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_empty_variables_count_as_unset() -> None:
    blank, unset = load(dict.fromkeys([*variables().values(), *SECRETS], " ")), load({})
    assert attrs.evolve(blank, database_url=unset.database_url) == unset
    assert blank.database_url.get_secret_value() == unset.database_url.get_secret_value()


def test_the_contracts_own_names_become_the_default_tenants_settings() -> None:
    environ = dict.fromkeys(SECRETS, "value") | {"CALLBOARD_SMS_SENDER": "  Shop  ", "UNRELATED": "x"}
    tenant = load(environ).tenant
    assert set(tenant) == SECRETS
    assert tenant["CALLBOARD_SMS_SENDER"].get_secret_value() == "Shop"


def test_no_secret_is_printed_in_any_form() -> None:
    environ = {
        "CALLBOARD_SECRET_KEY": KEY,
        "CALLBOARD_DATABASE_URL": "postgresql://me:geheim@db/x",
        "CALLBOARD_REDIS_URL": "redis://:geheim@db/0",
        **dict.fromkeys(SECRETS, "geheim"),
    }
    settings = load(environ)
    for text in (repr(settings), str(settings), f"{settings.tenant}", repr(attrs.asdict(settings))):
        assert "geheim" not in text
        assert KEY not in text


def test_the_twin_takes_every_provider_address_only_in_sandbox_mode() -> None:
    live = load({})
    assert live.at_twin() == live
    twin = load({"CALLBOARD_PROVIDERS": "sandbox", "CALLBOARD_SANDBOX_URL": "http://127.0.0.1:1234/"}).at_twin()
    for field in attrs.fields(Settings):
        if field.name.endswith("_base_url") or field.name.startswith("google_"):
            assert getattr(twin, field.name).startswith("http://127.0.0.1:1234"), field.name
            assert "//" not in getattr(twin, field.name).removeprefix("http://")


def test_overrides_win_over_the_environment() -> None:
    assert load({"CALLBOARD_DISPATCHERS": "5"}, dispatchers=7).dispatchers == 7


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///callboard.db", Path("callboard.db")),
        ("sqlite:////var/lib/cb.db?timeout=3", Path("/var/lib/cb.db")),
        ("sqlite+aiosqlite:////x/y.db", Path("/x/y.db")),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("postgresql://h/x", None),
    ],
)
def test_the_sqlite_file_is_found_in_the_url(url: str, path: Path | None) -> None:
    assert sqlite_file(load({"CALLBOARD_DATABASE_URL": url})) == path


def test_nothing_is_read_from_the_process_environment_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_DISPATCHERS", "9")
    assert module.load({}).dispatchers == 3
    assert module.load().dispatchers == 9
