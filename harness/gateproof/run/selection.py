"""The options that select what a run judges: ``--falsify``, ``--shard`` and ``--nonce``.

Leaves dividing the checks into shards to `gateproof.proof.shard`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.model import NONCE, Criterion, Extent

NONCE_ADVICE = (
    "give all shards of one run the same, made of what identifies the run of your CI, such as "
    """--nonce "$(printf %s "$RUN_ID" | sha256sum | cut -c1-32)\""""
)

_SHARD = re.compile(r"([0-9]{1,5})/([0-9]{1,5})")

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


def parse_shard(text: str) -> tuple[int, int]:
    """Return the number of a shard and the number of all shards, from the form ``K/N``.

    Raises:
        BadInputError: it has another form, or there is no such shard.

    """
    match = _SHARD.fullmatch(text)
    if match is None:
        raise BadInputError(
            f"--shard: got {text!r}, expected K/N: the number of this shard and of all, such as 2/3"
        )
    number, of = int(match[1]), int(match[2])
    if not 1 <= number <= of:
        raise BadInputError(
            f"--shard: got shard {number} of {of}, expected 1 to {of}; shards are counted from 1"
            if of
            else f"--shard: got shard {number} of 0, expected at least 1 of 1"
        )
    return number, of


def parse_nonce(text: str) -> str:
    """Return a nonce in lower case.

    Raises:
        BadInputError: it is too short, too long, or not hexadecimal.

    """
    nonce = text.lower()
    if re.fullmatch(NONCE, nonce) is None:
        raise BadInputError(
            f"--nonce: got {text!r} ({len(text)} characters), expected 16 to 64 hexadecimal "
            f"digits; {NONCE_ADVICE}"
        )
    return nonce
