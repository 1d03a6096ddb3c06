"""Fixtures of gate ci: this machine as a runner of CI jobs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gateproof import FileProbe, ProcessProbe, Recorder, Sut

from .checkout import NewRepository, Repository
from .job import JobRunner, NewJob
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


@pytest.fixture
def new_repository(machine: ProcessProbe, sut: Sut, tmp_path: Path) -> NewRepository:
    """Creates a git repository with the project, in which the checks and the system are stubs."""

    def make(*, few: bool = False) -> Repository:
        folder = Path(tempfile.mkdtemp(prefix="repository-", dir=tmp_path))
        return Repository.create(machine, sut, folder, few=few)

    return make


@pytest.fixture
def new_job(machine: ProcessProbe, recorder: Recorder) -> NewJob:
    """Creates the runner of a job in a checkout, and the artifact that it can download."""

    def make(checkout: Path, received: Path | None = None) -> JobRunner:
        return JobRunner(
            machine=machine,
            files=FileProbe(recorder, checkout),
            checkout=checkout,
            temporary=Path(tempfile.mkdtemp(prefix="runner-", dir=checkout.parent)),
            received=received,
        )

    return make
