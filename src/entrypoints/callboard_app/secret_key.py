"""The installation's secret: what encrypts stored credentials and signs tokens and unsubscribe links."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from callboard_app.settings import Settings, SettingsError, sqlite_file

FILE_NAME: Final = ".callboard-secret"
_SHORTEST: Final = 32


def secret_key(settings: Settings) -> bytes:
    """``CALLBOARD_SECRET_KEY``, or a key made once and kept in ``.callboard-secret`` (mode 0600) beside the database.

    In production the variable is required and must have 32 characters: :class:`SettingsError` says how to make one.
    """
    given = settings.secret_key
    if given is not None:
        if settings.production and len(given.get_secret_value()) < _SHORTEST:
            raise SettingsError(
                f"CALLBOARD_SECRET_KEY: use at least {_SHORTEST} characters in production, such as {_ADVICE}"
            )
        return given.get_secret_value().encode()
    if settings.production:
        raise SettingsError(
            f"CALLBOARD_SECRET_KEY: required in production; set it once and keep it, for example to {_ADVICE}"
        )
    database = sqlite_file(settings)
    return _kept((database.parent if database else Path()) / FILE_NAME)


def derive(key: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose, so that what is made for one is of no use for another."""
    return hmac.new(hashlib.sha256(key).digest(), f"callboard/{purpose}".encode(), hashlib.sha256).digest()


def _kept(path: Path) -> bytes:
    """The file's key, made by whichever of several racing processes is first; never seen half written."""
    try:
        return path.read_bytes().strip()
    except FileNotFoundError:
        pass
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, secrets.token_urlsafe(48).encode() + b"\n")
        os.fsync(descriptor)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        os.close(descriptor)
        draft.unlink()
    return path.read_bytes().strip()


_ADVICE: Final = 'the output of: python -c "import secrets; print(secrets.token_urlsafe(48))"'
