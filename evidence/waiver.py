"""Waivers: failures that a named person accepts until a date, from ``gates/waivers.toml``.

Owns reading the file before anything starts. Leaves what a waiver covers, and whether it has
expired, to `evidence.verdict`: an expired one is not bad input, it fails live.

Source: spec, "What bad input gets".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from evidence.catalogue import Catalogue
from evidence.errors import BadInputError
from evidence.model import Waiver
from evidence.tables import read_tables


def load_waivers(path: Path, catalogue: Catalogue) -> tuple[Waiver, ...]:
    """Read the waivers of a catalogue.

    Args:
        path: a TOML file of ``[[waiver]]`` tables; a file that is not there holds none.
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


def _refuse_blank(path: Path, waiver: Waiver) -> None:
    for field in ("reason", "owner"):
        if not getattr(waiver, field).strip():
            raise BadInputError(
                f"{path}: waiver {waiver.criterion}: {field}: got only blanks, expected words; "
                "say who accepts what and why"
            )


def _refuse_bad_date(path: Path, waiver: Waiver) -> None:
    try:
        date.fromisoformat(waiver.expires)
    except ValueError as error:
        raise BadInputError(
            f"{path}: waiver {waiver.criterion}: expires: got {waiver.expires!r}, expected a day "
            "of the calendar as YYYY-MM-DD; correct it"
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
