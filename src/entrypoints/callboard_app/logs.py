"""Logging: one line per fact on standard error, the same for our code and libraries, with secrets and phones masked."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from structlog.typing import Processor

from callboard_app.settings import LogFormat, Settings

MASK: Final = "***"
_SECRET_KEYS: Final = re.compile(
    r"(^|_)(secret|password|passwd|token|api_?key|authorization|signature|cookie|otp|code|text|body|payload|dsn)$",
    re.IGNORECASE,
)
_PHONE_KEYS: Final = re.compile(r"(^|_)(phone|phone_e164|msisdn|to|recipient)$", re.IGNORECASE)
_PATTERNS: Final = (
    (re.compile(r"(://[^\s:/@]*:)[^\s@/]+@"), rf"\1{MASK}@"),  # passwords in addresses
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), MASK),  # JSON web tokens
    (re.compile(r"\b(?:cb|czp)_[A-Za-z0-9_-]{16,}"), MASK),  # our own keys
    (re.compile(r"\+\d{5,13}(\d\d)\b"), rf"{MASK}\1"),  # phones in E.164
    (re.compile(r"(?<![\w.-])\d{8,13}(\d\d)(?![\w-]|\.\d)"), rf"{MASK}\1"),  # and without the plus
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), MASK),  # mail addresses
)


def mask(text: str) -> str:
    """``text`` without phones, mail addresses, tokens, keys and passwords, wherever they stand in it."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The processor behind every line: masks by key and by shape, whoever logged it."""
    for key, value in event.items():
        if key in {"event", "level", "timestamp", "logger"} and isinstance(value, str):
            event[key] = mask(value)
        elif _SECRET_KEYS.search(key):
            event[key] = MASK
        elif _PHONE_KEYS.search(key) and isinstance(value, str):
            event[key] = f"{MASK}{value[-2:]}"
        else:
            event[key] = _masked(value)
    return event


def _masked(value: object) -> object:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {str(k): MASK if _SECRET_KEYS.search(str(k)) else _masked(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_masked(part) for part in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return mask(str(value))


def configure(settings: Settings) -> None:
    """Set up structlog and the standard library's logging for this process."""
    console = settings.log_format is LogFormat.CONSOLE or (
        settings.log_format is LogFormat.AUTO and sys.stderr.isatty()
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,  # text without local variables: those hold what must not be shown
        redact,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if console
        else structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.log_level.upper())),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # Libraries: their warnings are news, their chatter is not. Our circuit reports a lost Redis once.
    for name, level in {
        "dramatiq": logging.CRITICAL + 1,
        "httpx": logging.WARNING,
        "httpcore": logging.WARNING,
        "uvicorn.error": logging.WARNING,
        "uvicorn.access": logging.CRITICAL + 1,
        "aiosqlite": logging.WARNING,
        "alembic": logging.WARNING,
        "asyncio": logging.WARNING,
    }.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers[:] = []
        logger.propagate = True
