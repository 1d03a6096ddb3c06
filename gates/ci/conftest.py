"""What the checks of gate ci share: this machine as a runner of jobs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gates.ci.runner import Runner
from harness.probes.process import ProcessProbe
from harness.probes.recorder import Recorder
from harness.sut import Sut


@pytest.fixture
def new_runner(
    machine: ProcessProbe, recorder: Recorder, sut: Sut, harness_folder: Path, tmp_path: Path
) -> Callable[[str], Runner]:
    """Makes the runner of a job, by the job's name."""

    def make(name: str) -> Runner:
        return Runner.prepare(
            machine,
            recorder,
            project=sut.folder,
            harness=harness_folder,
            workspace=Path(tempfile.mkdtemp(prefix=f"{name}-", dir=tmp_path)),
        )

    return make
