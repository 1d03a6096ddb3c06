"""What the checks of gate taxonomy share: a bench on which miniature runs are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from gates.taxonomy.miniature import Bench
from harness.probes.process import ProcessProbe
from harness.sut import Sut


@pytest.fixture
def bench(machine: ProcessProbe, sut: Sut, harness_folder: Path, tmp_path: Path) -> Bench:
    """Writes miniatures and runs them with the harness under judgement."""
    return Bench(machine=machine, sut=sut, harness=harness_folder, folder=tmp_path)
