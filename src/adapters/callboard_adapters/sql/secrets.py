"""Secrets at rest: AES-256-GCM under keys derived from the application's secret key."""

from __future__ import annotations

import base64
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from callboard.errors import NotConfigured

_VERSION: Final = "v1."
_NONCE: Final = 12


class SecretBox:
    """Seals with the first key, opens with any: to rotate, put the new key first and keep the old one behind it.

    ``context`` says where a value belongs (tenant and name). A sealed text moved to another place does not open.
    """

    def __init__(self, key: bytes, *older: bytes) -> None:
        self._ciphers = [_cipher(each) for each in (key, *older)]

    def seal(self, clear: str, *, context: str) -> str:
        """Printable text; a different one every time."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._ciphers[0].encrypt(nonce, clear.encode(), context.encode())
        return _VERSION + base64.urlsafe_b64encode(sealed).decode()

    def open(self, sealed: str, *, context: str) -> str:
        """The clear text; NotConfigured when none of our keys sealed it for this context."""
        try:
            raw = base64.urlsafe_b64decode(sealed.removeprefix(_VERSION)) if sealed.startswith(_VERSION) else b""
        except ValueError:
            raw = b""
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(raw[:_NONCE], raw[_NONCE:], context.encode()).decode()
            except (InvalidTag, ValueError):
                continue
        raise NotConfigured(
            "A stored secret cannot be read: CALLBOARD_SECRET_KEY is not the key it was stored with. "
            "Put the old key back or store the secret again"
        )


def _cipher(key: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=b"callboard settings v1").derive(key))
