"""Survivors that a person accepts until a date, from ``mutants.toml`` next to ``sut.toml``.

An accepted survivor still counts as a survivor; it only does not fail the command.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.table import read_tables
from gateproof_evidence.model import Value

FILE = "mutants.toml"
_REASON = 20

Text = Annotated[str, Field(min_length=1)]


class Accepted(Value):
    """One decision about survivors."""

    mutant: Text
    """The id, or a pattern with ``*`` for several."""
    reason: Annotated[str, Field(min_length=_REASON)]
    owner: Text
    expires: Text
    """The last day on which it counts, as ``YYYY-MM-DD``."""

    def covers(self, mutant: str, today: date) -> bool:
        """Return whether it is about a mutant and counts on a day."""
        literal = self.mutant.replace("[", "[[]")  # an id may have brackets, a pattern has none
        return self.counts_on(today) and fnmatchcase(mutant, literal)

    def counts_on(self, today: date) -> bool:
        """Return whether it has not expired."""
        return today <= date.fromisoformat(self.expires)


def load_accepted(path: Path) -> tuple[Accepted, ...]:
    """Read the decisions; a missing file means none.

    Raises:
        BadInputError: not TOML, an unknown key, a short reason, or an invalid date.

    """
    if not path.exists():
        return ()
    found = read_tables(path, name="accepted", key="mutant", model=Accepted)
    for one in found:
        try:
            date.fromisoformat(one.expires)
        except ValueError as error:
            raise BadInputError(
                f"{path}: accepted {one.mutant}: expires: got {one.expires}, expected a date such "
                "as 2027-06-30; correct it"
            ) from error
    return found


def acceptance_of(mutant: str, decisions: Iterable[Accepted], today: date) -> Accepted | None:
    """Return the decision that covers a mutant, if there is one."""
    return next((one for one in decisions if one.covers(mutant, today)), None)


def unused(decisions: Sequence[Accepted], mutants: Iterable[str], today: date) -> list[str]:
    """Return why decisions have no effect: they have expired, or are about no mutant."""
    known = list(mutants)
    lines = [
        f"accepted {one.mutant}: expired on {one.expires}"
        for one in decisions
        if not one.counts_on(today)
    ]
    return lines + [
        f"accepted {one.mutant}: no mutant has this id; remove it"
        for one in decisions
        if one.counts_on(today) and not any(one.covers(name, today) for name in known)
    ]
