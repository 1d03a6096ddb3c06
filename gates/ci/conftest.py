"""Fixtures of gate ci: this machine as a runner of CI jobs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gateproof import ProcessProbe, Recorder, Sut

from .runner import Runner


@pytest.fixture
def new_runner(
    machine: ProcessProbe,
    recorder: Recorder,
    sut: Sut,
    harness_path: tuple[Path, ...],
    tmp_path: Path,
) -> Callable[[str], Runner]:
    """Creates the runner of a job from the job's name."""

    def make(name: str) -> Runner:
        return Runner.prepare(
            machine,
            recorder,
            project=sut.folder,
            harness=harness_path,
            workspace=Path(tempfile.mkdtemp(prefix=f"{name}-", dir=tmp_path)),
        )

    return make
