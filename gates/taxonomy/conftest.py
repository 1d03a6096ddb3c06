"""Fixtures of gate taxonomy: runs of miniature gates."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof import ProcessProbe, Sut

from .miniature import MiniatureRunner


@pytest.fixture
def miniatures(
    machine: ProcessProbe, sut: Sut, harness_path: tuple[Path, ...], tmp_path: Path
) -> MiniatureRunner:
    """Writes miniature gates and runs them with the judged harness."""
    return MiniatureRunner(machine=machine, sut=sut, harness=harness_path, folder=tmp_path)
