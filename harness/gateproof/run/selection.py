"""Which proofs a run was asked for: what ``--falsify`` says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.model import Criterion, Extent

ALL, NONE, MATRIX = "all", "none", "matrix"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was asked for."""

    words: tuple[str, ...] = (ALL,)

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Read what was given on the command line.

        Raises:
            BadInputError: nothing, or one of the words for a whole together with others.

        """
        words = tuple(word.strip() for word in text.split(",") if word.strip())
        whole = {ALL, NONE, MATRIX} & set(words)
        if not words or (whole and len(words) > 1):
            raise BadInputError(
                f"--falsify: got {text!r}, expected all, none or matrix alone, or names of "
                "criteria, gates or falsifiers, separated by commas"
            )
        return cls(words=words)

    @property
    def extent(self) -> Extent:
        """Which proofs these are, as a bundle says it."""
        if self.words == (NONE,):
            return "none"
        return "all" if self.words in ((ALL,), (MATRIX,)) else "some"

    @property
    def matrix(self) -> bool:
        """Whether checks are run against each other's falsifiers too."""
        return self.words == (MATRIX,)

    def wants(self, criterion: Criterion, falsifier: str) -> bool:
        """Tell whether a criterion's falsifier is to be run."""
        if self.extent != "some":
            return self.extent == "all"
        names = {criterion.id, criterion.gate, falsifier, f"{criterion.id}:{falsifier}"}
        return bool(names & set(self.words))

    def refuse_unknown(self, criteria: Iterable[Criterion], falsifiers: Iterable[str]) -> None:
        """See that every name is one of something.

        Args:
            criteria: the catalogue.
            falsifiers: names of all that were collected, alone and as ``criterion:falsifier``.

        Raises:
            BadInputError: a name is nobody's.

        """
        if self.extent != "some":
            return
        known = {name for one in criteria for name in (one.id, one.gate)}
        unknown = sorted(set(self.words) - known - set(falsifiers))
        if unknown:
            raise BadInputError(
                f"--falsify: got {', '.join(unknown)}, expected the id of a criterion, a gate, or "
                "the name of a falsifier of a check that was collected; gateproof show --proofs "
                "lists those of a bundle"
            )
