"""Sensitive arguments at rest: encrypted for whoever holds the key, or not kept at all.

Fernet (AES-128 in CBC mode with HMAC-SHA256), by the library `cryptography`. The first key of
`SYSTEM_DEAD_LETTER_KEYS` encrypts and every one decrypts, so that a new key is put in front of the
old one, and the old one taken away when no letter needs it. Source: Fernet's specification;
cryptography, "MultiFernet".
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from system import settings
from system.errors import ConfigurationError, SealError

HOW_TO_MAKE = (
    "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
)


class Sealer:
    """Encrypts by the first of some keys, and decrypts by each of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet(
            [_fernet(key, place=place) for place, key in enumerate(keys, start=1)]
        )

    def seal(self, text: str) -> str:
        """Return text that nobody reads without a key."""
        return self._fernet.encrypt(text.encode()).decode("ascii")

    def unseal(self, token: str) -> str:
        """Return the text that was sealed.

        Raises:
            SealError: no key fits.

        """
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise SealError(
                "sealed arguments: got no key that fits, expected the one that sealed them; add it "
                f"to {settings.KEYS}"
            ) from None


def sealer() -> Sealer | None:
    """Return what the environment's keys seal with; None without a key.

    Raises:
        ConfigurationError: a key is none.

    """
    keys = settings.dead_letters_from(os.environ).keys
    return Sealer(keys) if keys else None


def _fernet(key: str, *, place: int) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise ConfigurationError(
            f"{settings.KEYS}: got a key number {place} that is none, expected 32 bytes in"
            f" URL-safe base64; make one with {HOW_TO_MAKE}"
        ) from None
