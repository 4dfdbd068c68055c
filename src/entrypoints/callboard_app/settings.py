"""Every setting and the environment variable that sets it. Nothing here reads the environment by itself."""

# ruff: noqa: RUF009 - the calls make attrs fields, they are no shared defaults

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from enum import Enum, EnumMeta, StrEnum
from pathlib import Path
from typing import Any, Final, cast, get_args
from urllib.parse import urlsplit

import attrs
import typed_settings as ts
from typed_settings.dict_utils import set_path
from typed_settings.types import LoadedSettings, LoaderMeta, OptionList

from callboard.tenants.model import Surface
from callboard.tenants.settings import SECRETS

_ENV: Final = "env"


class SettingsError(Exception):
    """A setting cannot be used; the message names the variable, what is wrong and what to write instead."""


class Environment(StrEnum):
    """Production refuses what development makes up by itself."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Providers(StrEnum):
    """``sandbox`` points every provider at the twin; ``live`` uses those whose credentials are set."""

    LIVE = "live"
    SANDBOX = "sandbox"


class LogFormat(StrEnum):
    """``auto``: for people on a terminal, JSON elsewhere."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


# --- what a value must look like ----------------------------------------------------------------------------------


def _says(check: Callable[[Any], bool], advice: str) -> Any:
    """A validator that refuses with the variable's name and advice."""

    def validate(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not check(value):
            raise ValueError(f"{attribute.metadata[_ENV]}: {advice}")

    return validate


def _is_url(value: str) -> bool:
    parts = urlsplit(value)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query and not parts.fragment


def _is_origin(value: str) -> bool:
    parts = urlsplit(value)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.path.strip("/")


_URL = _says(
    lambda v: v is None or _is_url(v),
    "write an address with http:// or https://, such as https://callboard.example.com",
)
_ORIGINS = _says(
    lambda v: all(map(_is_origin, v)),
    "write origins separated by commas, such as https://shop.example.com,https://admin.example.com",
)
_HOSTS = _says(
    lambda v: all(re.fullmatch(r"[A-Za-z0-9.-]+", host) for host in v),
    "write host names separated by commas, such as shop.example.com",
)
_HOST_PORTS = _says(
    lambda v: all(re.fullmatch(r"[^\s:/]+:\d{1,5}|\[[0-9A-Fa-f:]+\]:\d{1,5}", host) for host in v),
    "write host:port pairs separated by commas, such as 127.0.0.1:9000",
)
_RATE = _says(
    lambda v: (
        v == "0" or re.fullmatch(r"[1-9]\d*\s*(?:/|per)\s*(?:\d+\s*)?(?:second|minute|hour|day)s?", v) is not None
    ),
    "write a number per unit of time, such as 1200/minute, or 0 for no limit",
)
_DATABASE = _says(
    lambda v: v.get_secret_value().split(":", 1)[0].split("+")[0] in {"sqlite", "postgresql", "postgres"},
    "write sqlite:///callboard.db or postgresql://user:password@host/database",
)
_REDIS = _says(
    lambda v: v is None or v.get_secret_value().split(":", 1)[0] in {"redis", "rediss", "unix"},
    "write redis://host:6379/0, or leave it out",
)


def _between(low: float, high: float) -> Any:
    return _says(lambda v: low <= v <= high, f"write a number from {low:,} to {high:,}")


def _from(name: str, default: Any = None, validator: Any = None) -> Any:
    """A setting, its variable and its default."""
    return ts.option(default=default, validator=validator, metadata={_ENV: name})


def _list_from(name: str, default: tuple[Any, ...] = (), validator: Any = None) -> Any:
    return ts.option(factory=lambda: list(default), validator=validator, metadata={_ENV: name})


# --- the settings -------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Settings:
    """One process's settings; secrets print as stars. ``tenant`` is what the variables of the default tenant say."""

    environment: Environment = _from("CALLBOARD_ENV", Environment.DEVELOPMENT)
    database_url: ts.Secret[str] = _from("CALLBOARD_DATABASE_URL", ts.Secret("sqlite:///callboard.db"), _DATABASE)
    redis_url: ts.Secret[str] | None = _from("CALLBOARD_REDIS_URL", None, _REDIS)
    secret_key: ts.Secret[str] | None = _from("CALLBOARD_SECRET_KEY")
    public_url: str = _from("CALLBOARD_PUBLIC_URL", "http://127.0.0.1:8000", _URL)
    shortener_url: str | None = _from("URL_SHORTENER_BASE_URL", None, _URL)
    surfaces: list[Surface] = _list_from("CALLBOARD_SURFACES", tuple(Surface))
    allowed_origins: list[str] = _list_from("ALLOWED_ORIGINS", (), _ORIGINS)
    redirect_allowed_hosts: list[str] = _list_from("REDIRECT_ALLOWED_HOSTS", (), _HOSTS)
    webhook_allowlist: list[str] = _list_from("CALLBOARD_WEBHOOK_ALLOWLIST", (), _HOST_PORTS)
    rate_limit: str = _from("CALLBOARD_RATE_LIMIT", "1200/minute", _RATE)

    providers: Providers = _from("CALLBOARD_PROVIDERS", Providers.LIVE)
    sandbox_url: str = _from("CALLBOARD_SANDBOX_URL", "http://127.0.0.1:8787", _URL)
    sms_base_url: str = _from("CALLBOARD_SMS_BASE_URL", "https://messaging.mittoapi.com", _URL)
    whatsapp_base_url: str = _from("CALLBOARD_WHATSAPP_BASE_URL", "https://graph.facebook.com", _URL)
    graph_base_url: str = _from("CALLBOARD_GRAPH_BASE_URL", "https://graph.facebook.com", _URL)
    bolna_base_url: str = _from("CALLBOARD_BOLNA_BASE_URL", "https://api.bolna.ai", _URL)
    google_auth_url: str = _from("CALLBOARD_GOOGLE_AUTH_URL", "https://accounts.google.com/o/oauth2/v2/auth", _URL)
    google_token_url: str = _from("CALLBOARD_GOOGLE_TOKEN_URL", "https://oauth2.googleapis.com/token", _URL)
    google_revoke_url: str = _from("CALLBOARD_GOOGLE_REVOKE_URL", "https://oauth2.googleapis.com/revoke", _URL)
    google_api_base_url: str = _from("CALLBOARD_GOOGLE_API_BASE_URL", "https://www.googleapis.com", _URL)
    whatsapp_per_second: float = _from("CALLBOARD_WHATSAPP_MPS", 80.0, _between(0, 10_000))
    sms_per_second: float = _from("CALLBOARD_SMS_MPS", 0.0, _between(0, 100_000))
    sms_bulk: int = _from("CALLBOARD_SMS_BULK_SIZE", 1, _between(1, 1_000))
    concurrency: int = _from("CALLBOARD_SEND_CONCURRENCY", 32, _between(1, 500))

    default_credits: int = _from("CALLBOARD_DEFAULT_CREDITS", 1_000, _between(0, 10**12))
    reconcile_seconds: int = _from("CALLBOARD_RECONCILE_SECONDS", 86_400, _between(1, 31_536_000))
    verification_timeout: int = _from("CALLBOARD_VERIFICATION_TIMEOUT", 86_400, _between(1, 31_536_000))
    calendar_poll_seconds: int = _from("CALLBOARD_CALENDAR_POLL_SECONDS", 300, _between(1, 86_400))
    dispatchers: int = _from("CALLBOARD_DISPATCHERS", 3, _between(1, 64))
    log_format: LogFormat = _from("CALLBOARD_LOG_FORMAT", LogFormat.AUTO)
    log_level: str = _from(
        "CALLBOARD_LOG_LEVEL",
        "info",
        _says(lambda v: v in {"debug", "info", "warning", "error"}, "write debug, info, warning or error"),
    )
    tenant: dict[str, ts.Secret[str]] = ts.option(factory=dict)

    @property
    def production(self) -> bool:
        """True when defaults that are only safe on a developer's machine are refused."""
        return self.environment is Environment.PRODUCTION

    @property
    def short_url(self) -> str:
        """The address in front of ``/r/<token>``."""
        return self.shortener_url or self.public_url

    @property
    def embedded(self) -> bool:
        """True when the server itself does the work of ``callboard worker``."""
        return self.redis_url is None

    def at_twin(self) -> Settings:
        """With ``CALLBOARD_PROVIDERS=sandbox`` every provider address is the twin's; otherwise the same settings."""
        if self.providers is not Providers.SANDBOX:
            return self
        twin = self.sandbox_url.rstrip("/")
        return attrs.evolve(
            self,
            sms_base_url=twin,
            whatsapp_base_url=twin,
            graph_base_url=twin,
            bolna_base_url=twin,
            google_auth_url=f"{twin}/o/oauth2/v2/auth",
            google_token_url=f"{twin}/token",
            google_revoke_url=f"{twin}/revoke",
            google_api_base_url=twin,
        )


class _Environ:
    """The loader: ``names`` says which variable sets which option; an empty variable counts as unset."""

    def __init__(self, environ: Mapping[str, str], names: Mapping[str, str]) -> None:
        self._environ = environ
        self._names = names

    def __call__(self, settings_cls: type, options: OptionList) -> LoadedSettings:
        values: dict[str, Any] = {}
        for option in options:
            name = self._names.get(option.path)
            if name is not None and (value := self._environ.get(name, "").strip()):
                set_path(values, option.path, value)
        return LoadedSettings(values, LoaderMeta(self))


def variables() -> Mapping[str, str]:
    """Attribute of :class:`Settings` → name of its environment variable."""
    return {field.name: field.metadata[_ENV] for field in attrs.fields(Settings) if _ENV in field.metadata}


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read settings from ``environ`` (the process's own when None); ``overrides`` win and name attributes.

    Raises :class:`SettingsError`, naming the variable that cannot be used and what to write; values are never shown.
    """
    environ = os.environ if environ is None else environ
    names = variables()
    converter = ts.converters.get_default_cattrs_converter()
    ts.register_strlist_hook(converter, fn=lambda text: [part.strip() for part in text.split(",") if part.strip()])
    try:
        settings: Settings = ts.load_settings(Settings, [_Environ(environ, names)], converter=converter)
    except ts.exceptions.InvalidSettingsError as group:
        raise SettingsError("\n".join(_explain(error, names) for error in group.exceptions)) from None
    tenant = {name: ts.Secret(value) for name in sorted(SECRETS) if (value := environ.get(name, "").strip())}
    return attrs.evolve(settings, tenant=tenant, **overrides)


def _explain(error: BaseException, names: Mapping[str, str]) -> str:
    """``CALLBOARD_X: advice`` from typed-settings' message, without the value that was given: it may be a secret."""
    if found := re.search(r"for option '([\w.]+)'", str(error)):
        kind = attrs.fields_dict(attrs.resolve_types(Settings))[found[1]].type
        words = [
            str(word.value)
            for part in (*get_args(kind), kind)
            if isinstance(part, EnumMeta)
            for word in cast("type[Enum]", part)
        ]
        advice = f"write one of {', '.join(words)}" if words else "write a number"
        return f"{names[found[1]]}: {advice}"
    return "\n".join(line.partition("ValueError: ")[2] for line in str(error).splitlines() if "ValueError: " in line)


def sqlite_file(settings: Settings) -> Path | None:
    """The database file of the embedded default; None on PostgreSQL and in memory."""
    scheme, _, path = settings.database_url.get_secret_value().partition(":///")
    if not scheme.startswith("sqlite") or not path or path.startswith(":memory:"):
        return None
    return Path(path.partition("?")[0])
