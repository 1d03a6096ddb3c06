"""Fixtures of these tests: a small run with one of everything, staged and sealed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.recording.journal import read_journal
from gateproof_evidence.judging.judgement import Context
from gateproof_evidence.model import Record, Run, Waiver
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.seal import seal
from gateproof_evidence.sealing.staged_journal import read_staged_journal
from tests.sample import (
    BOUND,
    SEALED,
    TIMING,
    WAIVERS,
    context_of,
    judged,
    sample_catalogue,
    stage,
)


@pytest.fixture
def clock() -> Callable[[], datetime]:
    """Provide a clock that always returns the same time."""
    return lambda: SEALED


@pytest.fixture
def catalogue() -> Catalogue:
    """Provide four criteria in two gates."""
    return sample_catalogue()


@pytest.fixture
def waivers() -> tuple[Waiver, ...]:
    """Provide the waiver of a failure."""
    return WAIVERS


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """Provide the folder of a run before sealing."""
    return stage(tmp_path / ".staging")


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Provide a run with a pass, a fail, a waived fail and a criterion that was not selected."""
    return judged(stage(tmp_path_factory.mktemp("run")))


@pytest.fixture
def context() -> Context:
    """Provide the fields of the run that its journal does not contain."""
    return context_of(BOUND, TIMING)


@pytest.fixture
def records(staging: Path) -> tuple[Record, ...]:
    """Provide the journal of the staged run."""
    return read_journal([staging / "data/journal.jsonl"])


@pytest.fixture
def key() -> RunKey:
    """Provide a key for one run."""
    return RunKey.ephemeral()


@pytest.fixture
def bundle(
    staging: Path,
    tmp_path: Path,
    catalogue: Catalogue,
    waivers: tuple[Waiver, ...],
    context: Context,
    key: RunKey,
    clock: Callable[[], datetime],
) -> Path:
    """Provide a sealed bundle."""
    return seal(
        staging,
        tmp_path / "bundle",
        journal=read_staged_journal(staging),
        catalogue=catalogue,
        waivers=waivers,
        context=context,
        key=key,
        clock=clock,
    ).bundle


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Provide a function that copies a bundle to a new folder."""
    made: list[Path] = []

    def copy(source: Path) -> Path:
        made.append(tmp_path / f"copy-{len(made)}")
        return Path(shutil.copytree(source, made[-1], symlinks=True))

    return copy
