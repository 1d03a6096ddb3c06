"""Parts that the commands share: exit statuses, paths, reading of files, the console.

Source: spec, "Exit status".
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from pydantic import ValidationError
from rich.console import Console

from gateproof_evidence.errors import BadInputError, EvidenceError, NotWritableError
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.attestation import Predicate, parse_statement
from gateproof_evidence.format.canonical import JsonError, read_json
from gateproof_evidence.format.envelope import Envelope
from gateproof_evidence.format.layout import ATTESTATION, JOURNAL, RUN
from gateproof_evidence.format.layout import LATEST as LINK
from gateproof_evidence.format.public_key import plain_text
from gateproof_evidence.format.recording.journal import read_lines
from gateproof_evidence.model import Record, Run
from gateproof_evidence.verification.outside import refuse_inside

PATH = click.Path(path_type=Path)
LATEST = Path("reports") / LINK
"""The bundle that a command uses where none is named."""


def console() -> Console:
    """Return a console as wide as the terminal, or 120 columns where there is none."""
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def read_file(path: Path, what: str) -> bytes:
    """Read a file that the user named.

    Raises:
        BadInputError: it cannot be read; `what` names its role in the message.

    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"{path}: {what}: got {error.strerror}, expected a readable file; name another"
        ) from error


def write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet: no command overwrites one.

    Raises:
        NotWritableError: it exists, or its folder cannot be written.

    """
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise NotWritableError(
            f"{path}: --out: got a file that exists, expected a new one; remove it, or name another"
        ) from error
    except OSError as error:
        raise NotWritableError(
            f"{path}: --out: got {error.strerror}, expected a new file in a folder that can be "
            "written; name another"
        ) from error


def read_outside(path: Path, bundle: Path, what: str) -> bytes:
    """Read a file that decides who is trusted; refuse one that lies inside the bundle.

    A byte-order mark is removed: ssh-keygen and openssl would take it for a part of the first line.

    Raises:
        BadInputError: it lies inside the bundle, cannot be read, or is UTF-16.

    """
    refuse_inside(path, bundle, what)
    return plain_text(read_file(path, what), name=f"{path}: {what}")


def read_run(bundle: Path | Source) -> Run:
    """Read the run of a bundle, without verifying it.

    Raises:
        BadInputError: the bundle has no run.json that can be read.

    """
    content, path = read_inside(bundle, RUN)
    try:
        return Run.model_validate(read_json(content))
    except (JsonError, ValidationError) as error:
        raise BadInputError(
            f"{path}: run: got {error}, expected the run.json of a sealed bundle; "
            "gateproof verify reports more"
        ) from error


def read_records(bundle: Path | Source) -> tuple[Record, ...]:
    """Read the journal of a bundle, without verifying it.

    Raises:
        BadInputError: there is none, or one of its lines is not a record.

    """
    source = open_source(bundle)
    path = source.path / JOURNAL
    try:
        return tuple(read_lines(source.lines(JOURNAL), name=str(path)))
    except OSError as error:
        raise _unreadable(path, error) from error


def read_attested(bundle: Path | Source) -> Predicate:
    """Read the statement in a bundle's attestation, without verifying its signature.

    Raises:
        BadInputError: there is none, or it is not a statement about a bundle.

    """
    content, path = read_inside(bundle, ATTESTATION)
    try:
        return parse_statement(Envelope.from_bytes(content).payload)
    except EvidenceError as error:
        raise BadInputError(
            f"{path}: attestation: got {error}, expected the attestation of a sealed bundle; "
            "gateproof verify reports more"
        ) from error


def read_inside(bundle: Path | Source, name: str) -> tuple[bytes, Path]:
    """Return the content of a file of a bundle, and how messages name it."""
    source = open_source(bundle)
    path = source.path / name
    try:
        return source.read(name), path
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(
        f"{path}: bundle: got {error.strerror}, expected a readable file; name another"
    )
