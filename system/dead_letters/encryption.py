"""Encrypt the sensitive arguments of dead letters; without a key they are not kept at all.

Fernet (AES-128 in CBC mode with HMAC-SHA256), by the library `cryptography`. The first key of
`SYSTEM_DEAD_LETTER_KEYS` encrypts and every key decrypts. To rotate, put a new key in front of the
old one, and remove the old one when no row needs it. Source: Fernet's specification; cryptography,
"MultiFernet".
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from system import settings
from system.errors import ConfigurationError, EncryptionError

HOW_TO_MAKE = (
    "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
)


class Cipher:
    """Encrypts with the first of several keys, and decrypts with any of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet(
            [_fernet(key, place=place) for place, key in enumerate(keys, start=1)]
        )

    def encrypt(self, text: str) -> str:
        """Return text as a token that cannot be read without a key."""
        return self._fernet.encrypt(text.encode()).decode("ascii")

    def decrypt(self, token: str) -> str:
        """Return the text of a token.

        Raises:
            EncryptionError: no key fits.

        """
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise EncryptionError(
                "encrypted arguments: got no key that fits, expected the key that encrypted them; "
                f"add it to {settings.KEYS}"
            ) from None


def cipher() -> Cipher | None:
    """Return the cipher of the environment's keys; None without a key.

    Raises:
        ConfigurationError: a key is malformed.

    """
    keys = settings.dead_letters_from(os.environ).keys
    return Cipher(keys) if keys else None


def required_cipher() -> Cipher:
    """Return the cipher of the environment's keys, to decrypt.

    Raises:
        ConfigurationError: a key is malformed.
        EncryptionError: there is no key.

    """
    found = cipher()
    if found is None:
        raise EncryptionError(
            f"encrypted arguments: got no key, expected one in {settings.KEYS}; set it to replay"
        )
    return found


def _fernet(key: str, *, place: int) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise ConfigurationError(
            f"{settings.KEYS}: got a malformed key at place {place}, expected 32 bytes in"
            f" URL-safe base64; make one with {HOW_TO_MAKE}"
        ) from None
