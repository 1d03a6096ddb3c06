"""The interface of an export: a name, a file, and a pure function of the run.

Each format is one module with one `Export`; `gateproof_evidence.reports.exports.registry` lists
them. The run contains all that an export needs, so that anyone with a bundle can make each export
again, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.model import Run


class NothingToSayError(EvidenceError):
    """The run lacks a value that the format requires."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """One export format."""

    name: str
    """The value of ``--format``."""
    file: str
    """The name of its file under ``data/exports/``."""
    render: Callable[[Run], bytes]
    """Returns the same bytes for the same run; raises `NothingToSayError`."""
