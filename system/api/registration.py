"""Find the tenant and the secrets of an endpoint's token.

Only the digest of a token is sent to the database, whose function returns the one row of it. Its
secrets are read from files at each request, so that a rotation needs no restart: write the next
secret's file, name it in the registration, change the secret at the vendor, and then make it the
first one. Both are valid in between.

An unknown token gets a secret that signs nothing, so that the same steps follow.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import Connection, text

from system.errors import ConfigurationError

LONGEST_SECRET = 4096

_RESOLVE = text(
    "SELECT tenant_id, secret_ref, next_secret_ref FROM resolve_webhook_endpoint(:digest, :vendor)"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NO_SECRET = secrets.token_urlsafe(32)

log = structlog.get_logger("system.api")


@dataclass(frozen=True, kw_only=True)
class Registration:
    """The registration of an endpoint."""

    tenant_id: UUID | None
    """None for an unknown token."""
    secrets: tuple[str, ...] = field(repr=False)
    """The valid secrets: one, or two during a rotation."""


UNKNOWN = Registration(tenant_id=None, secrets=(_NO_SECRET,))


def digest_of(token: str) -> str:
    """Return the digest under which a token is registered: SHA-256 in hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def find(connection: Connection, folder: Path, *, vendor: str, token: str) -> Registration:
    """Return the registration of a token; `UNKNOWN` if there is none.

    Args:
        connection: one of the role `app_ingest`.
        folder: of the files with secrets.
        vendor: the vendor of the request's path.
        token: as the path has it.

    Raises:
        ConfigurationError: no secret of the registration can be read.
        sqlalchemy.exc.DBAPIError: the database does not answer.

    """
    values = {"digest": digest_of(token), "vendor": vendor}
    row = connection.execute(_RESOLVE, values).one_or_none()
    if row is None:
        return UNKNOWN
    names = [name for name in (row.secret_ref, row.next_secret_ref) if name]
    return Registration(tenant_id=row.tenant_id, secrets=_readable(folder, names))


def _readable(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return the secrets that can be read; one of two is enough during a rotation."""
    found, errors = [], []
    for name in names:
        try:
            found.append(read_secret(folder, name))
        except ConfigurationError as error:
            log.error("secret not read", error=str(error))  # noqa: TRY400 (the message suffices)
            errors.append(error)
    if not found:
        raise errors[0]
    return tuple(found)


def read_secret(folder: Path, name: str) -> str:
    """Return the secret in a file, without white space at its ends.

    Raises:
        ConfigurationError: the name is no plain file name, or the file cannot be read, or is empty.

    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            "secret_ref: got a name with other characters, expected A-Z, a-z, 0-9, . _ and - only"
        )
    try:
        with (folder / name).open(encoding="utf-8") as file:
            secret = file.read(LONGEST_SECRET).strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"secret_ref: got {type(error).__name__} for the file {name}, expected one that can be "
            "read in SYSTEM_WEBHOOK_SECRETS"
        ) from None
    if not secret:
        raise ConfigurationError(f"secret_ref: got the empty file {name}, expected a secret in it")
    return secret
