"""What the checks of gate taxonomy share: a bench on which miniature runs are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof import ProcessProbe, Sut

from .miniature import Bench


@pytest.fixture
def bench(machine: ProcessProbe, sut: Sut, harness_path: tuple[Path, ...], tmp_path: Path) -> Bench:
    """Writes miniatures and runs them with the harness under judgement."""
    return Bench(machine=machine, sut=sut, harness=harness_path, folder=tmp_path)
