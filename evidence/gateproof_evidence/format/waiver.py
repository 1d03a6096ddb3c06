"""Waivers: failures that a named person accepts until a date, from ``gates/waivers.toml``.

Owns reading the file before anything starts, and the form of waivers in a bundle. Leaves the effect
and the expiry of a waiver to `gateproof_evidence.judging.verdict`: an expired one is not bad input,
it no longer covers its failure.

Source: spec, "What bad input gets".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from pydantic import ValidationError

from gateproof_evidence.errors import BadInputError, EvidenceError
from gateproof_evidence.format.canonical import canonical_json, read_json
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.table import read_tables
from gateproof_evidence.model import Value, Waiver
from gateproof_evidence.model.problem import first_problem


class _Sealed(Value):
    waivers: tuple[Waiver, ...]


class WaiversError(EvidenceError):
    """A bundle's waivers are not valid."""


def format_waivers(waivers: Sequence[Waiver]) -> bytes:
    """Return the waivers in force as canonical JSON, which a bundle contains."""
    return canonical_json({"waivers": [waiver.model_dump(mode="json") for waiver in waivers]})


def parse_waivers(content: bytes) -> tuple[Waiver, ...]:
    """Read waivers in the form of `format_waivers`.

    Raises:
        EvidenceError: duplicate keys, other fields, an invalid date, two waivers for one criterion,
            or another form.

    """
    try:
        waivers = _Sealed.model_validate(read_json(content)).waivers
        for waiver in waivers:
            date.fromisoformat(waiver.expires)
    except ValidationError as error:
        problem = first_problem(error)
        raise WaiversError(f"waivers: {problem}") from error
    except ValueError as error:
        raise WaiversError(f"waivers: expires: {error}") from error
    if len({waiver.criterion for waiver in waivers}) < len(waivers):
        raise WaiversError("waivers: criterion: got a criterion twice, expected each once")
    if format_waivers(waivers) != content:
        raise WaiversError("waivers: bytes: got another form, expected canonical JSON")
    return waivers


def load_waivers(path: Path, catalogue: Catalogue) -> tuple[Waiver, ...]:
    """Read the waivers of a catalogue.

    Args:
        path: a TOML file of ``[[waiver]]`` tables; a missing file means no waivers.
        catalogue: every waiver names one of its criteria.

    Raises:
        BadInputError: a reason, owner or expiry that is missing, empty or malformed, an unknown
            criterion, or two waivers for one.

    """
    if not path.exists() and not path.is_symlink():
        return ()
    waivers = read_tables(path, name="waiver", key="criterion", model=Waiver)
    for waiver in waivers:
        _refuse_blank(path, waiver)
        _refuse_bad_date(path, waiver)
        _refuse_unknown(path, waiver, catalogue)
    _refuse_duplicates(path, waivers)
    return waivers


def load_all_waivers(paths: Sequence[Path], catalogue: Catalogue) -> tuple[Waiver, ...]:
    """Read the waivers of a catalogue that has several files.

    Args:
        paths: the files, see `load_waivers`.
        catalogue: every waiver names one of its criteria.

    Raises:
        BadInputError: a file is not valid, or two files have a waiver for one criterion.

    """
    waivers: list[Waiver] = []
    for path in paths:
        waivers += load_waivers(path, catalogue)
        _refuse_duplicates(path, waivers)
    return tuple(waivers)


def _refuse_blank(path: Path, waiver: Waiver) -> None:
    for field in ("reason", "owner"):
        if not getattr(waiver, field).strip():
            raise BadInputError(
                f"{path}: waiver {waiver.criterion}: {field}: got only spaces, expected text; "
                "write who accepts what and why"
            )


def _refuse_bad_date(path: Path, waiver: Waiver) -> None:
    try:
        date.fromisoformat(waiver.expires)
    except ValueError as error:
        raise BadInputError(
            f"{path}: waiver {waiver.criterion}: expires: got {waiver.expires!r}, expected a valid "
            "date as YYYY-MM-DD; correct it"
        ) from error


def _refuse_unknown(path: Path, waiver: Waiver, catalogue: Catalogue) -> None:
    if waiver.criterion not in catalogue.ids:
        raise BadInputError(
            f"{path}: waiver criterion: got {waiver.criterion}, expected an id of the catalogue; "
            "correct the id or remove the waiver"
        )


def _refuse_duplicates(path: Path, waivers: Sequence[Waiver]) -> None:
    seen: set[str] = set()
    for waiver in waivers:
        if waiver.criterion in seen:
            raise BadInputError(
                f"{path}: waiver criterion: got {waiver.criterion} twice, expected each once; "
                "keep one of the two"
            )
        seen.add(waiver.criterion)
