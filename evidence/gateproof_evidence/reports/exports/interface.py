"""What an export is: a name, a file, and a pure function of the run.

Each format is one module with one `Export`; `gateproof_evidence.reports.exports.registry` lists
them. The run holds all that an export may say, so that whoever has a bundle can make each again,
byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.model import Run


class NothingToSayError(EvidenceError):
    """The run lacks what the format demands, and the format has no way to leave it out."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """One format."""

    name: str
    """As ``--format`` takes it."""
    file: str
    """Its file under ``data/exports/``."""
    render: Callable[[Run], bytes]
    """Gives the same bytes for the same run; raises `NothingToSayError`."""
