"""Selects proofs by the option ``--falsify``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.model import Criterion, Extent

ALL, THOROUGH, NONE, MATRIX = "all", "thorough", "none", "matrix"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The value of ``--falsify``."""

    words: tuple[str, ...] = (ALL,)

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Parse the value of the option.

        Raises:
            BadInputError: it is empty, or combines all, thorough, none or matrix with other words.

        """
        words = tuple(word.strip() for word in text.split(",") if word.strip())
        whole = {ALL, THOROUGH, NONE, MATRIX} & set(words)
        if not words or (whole and len(words) > 1):
            raise BadInputError(
                f"--falsify: got {text!r}, expected all, thorough, none or matrix alone, or names "
                "of criteria, gates or falsifiers, separated by commas"
            )
        return cls(words=words)

    @property
    def extent(self) -> Extent:
        """The extent of the proofs, as recorded in the bundle."""
        if self.words == (NONE,):
            return "none"
        return "all" if self.words in ((ALL,), (THOROUGH,), (MATRIX,)) else "some"

    @property
    def thorough(self) -> bool:
        """Whether every proof runs its check before the fault too, instead of sharing that run."""
        return self.words == (THOROUGH,)

    @property
    def matrix(self) -> bool:
        """Whether checks are also run against the falsifiers of other checks."""
        return self.words == (MATRIX,)

    def selects(self, criterion: Criterion, falsifier: str) -> bool:
        """Return whether a falsifier of a criterion is selected."""
        if self.extent != "some":
            return self.extent == "all"
        names = {criterion.id, criterion.gate, falsifier, f"{criterion.id}:{falsifier}"}
        return bool(names & set(self.words))

    def refuse_unknown(self, criteria: Iterable[Criterion], falsifiers: Iterable[str]) -> None:
        """Refuse names that match nothing.

        Args:
            criteria: the catalogue.
            falsifiers: names of all collected falsifiers, alone and as ``criterion:falsifier``.

        Raises:
            BadInputError: a name matches no criterion, gate or falsifier.

        """
        if self.extent != "some":
            return
        known = {name for one in criteria for name in (one.id, one.gate)}
        unknown = sorted(set(self.words) - known - set(falsifiers))
        if unknown:
            raise BadInputError(
                f"--falsify: got {', '.join(unknown)}, expected the id of a criterion, a gate, or "
                "the name of a falsifier of a collected check; gateproof show --proofs "
                "lists those of a bundle"
            )
