"""The criteria of this repository: those of the pack and those of the reference system."""

from __future__ import annotations

from pathlib import Path

from gateproof.description.gates import catalogue_of
from gateproof.description.reading import load_sut
from gateproof_evidence.format.catalogue import Catalogue

ROOT = Path(__file__).parents[1]
GATES = (ROOT / "gates", ROOT / "system" / "gates")
"""The folders that `make gates` judges by."""


def catalogue() -> Catalogue:
    """Return the catalogue of `make gates`."""
    return catalogue_of(load_sut(ROOT / "system" / "sut.toml"), GATES)
