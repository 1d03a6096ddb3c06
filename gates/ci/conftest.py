"""What the checks of gate ci share: this machine as a runner, and how they choose where it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gates.ci.runner import Runner
from harness.environments.process import LocalLauncher
from harness.probes.process import ProcessProbe
from harness.probes.recorder import Recorder
from harness.sut import Sut


@pytest.fixture
def machine(recorder: Recorder, tmp_path: Path) -> Iterator[ProcessProbe]:
    """Runs commands on this machine, wherever the system itself lives."""
    folder = tmp_path / "processes"
    folder.mkdir()
    launcher = LocalLauncher(folder)
    yield ProcessProbe(recorder, launcher)
    launcher.dispose()


@pytest.fixture
def new_runner(
    machine: ProcessProbe, recorder: Recorder, sut: Sut, tmp_path: Path
) -> Callable[[str], Runner]:
    """Makes the runner of a job, by the job's name."""

    def make(name: str) -> Runner:
        return Runner.prepare(machine, recorder, project=sut.folder, workspace=tmp_path / name)

    return make
