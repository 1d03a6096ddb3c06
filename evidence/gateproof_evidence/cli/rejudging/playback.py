"""Playing checks back for `gateproof rejudge --gates`, and the list of those that cannot be.

Owns the files that a playback gets and the comparison with the list. Leaves running the checks to
the distribution that is installed for it: this package runs no check.

Source: docs/reference/playback.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.layout import ANSWERS
from gateproof_evidence.judging.playback import PlayedBack
from gateproof_evidence.model import Record

GROUP, NAME = "gateproof.playback", "play"
"""The entry point that plays checks back."""


class Play(Protocol):
    """Plays the checks of a folder back."""

    def __call__(
        self,
        gates: Path,
        sut: Path | None,
        answers: Mapping[str, bytes],
        records: Sequence[Record],
        gate_of: Mapping[str, str],
    ) -> PlayedBack:
        """Return the statements of the checks, from recorded answers."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The criteria of which a list says that they cannot be played back."""

    path: Path
    ids: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Listed:
        """Read a list: an id at the beginning of each line; the rest of it is the reason.

        Raises:
            BadInputError: the file cannot be read, or has an id twice.

        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInputError(
                f"{path}: list of criteria: got {error}, expected a readable text file"
            ) from error
        ids = tuple(line.split()[0] for line in lines if line.strip() and line[0] != "#")
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise BadInputError(f"{path}: got {', '.join(twice)} twice, expected each id once")
        return cls(path=path, ids=ids)

    def findings(
        self, others: Mapping[str, str], played: Sequence[str], criteria: Sequence[str]
    ) -> Iterator[str]:
        """Yield how the list differs from what could not be played back.

        Args:
            others: the criteria that were not played back, with the reason.
            played: the criteria that were; a run need not have all.
            criteria: the ids of the catalogue.

        """
        for one, reason in others.items():
            if one not in self.ids:
                yield f"{one}: got no playback, expected one: {reason}"
        for one in self.ids:
            if one not in criteria:
                yield f"{one}: got a criterion that the catalogue lacks; remove it from {self.path}"
            elif one in played:
                yield f"{one}: got a playback, expected none; remove it from {self.path}"


def find_play() -> Play:
    """Return what plays checks back.

    Raises:
        BadInputError: no installed distribution does.

    """
    for entry in entry_points(group=GROUP, name=NAME):
        play: Play = entry.load()
        return play
    raise BadInputError(
        "--gates: got no installed distribution that runs checks, expected gateproof; install it, "
        "or leave --gates out to judge the recorded claims"
    )


def is_answer(path: str) -> bool:
    """Return whether a file of a bundle has recorded answers."""
    return path.startswith(ANSWERS)
