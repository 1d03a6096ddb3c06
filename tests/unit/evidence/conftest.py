"""Fixtures of these tests: a small run with one of everything, staged and sealed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.journal import read_journal
from gateproof_evidence.model import Record, Run, Waiver
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.seal import seal
from tests.sample import SEALED, WAIVERS, judged, sample_catalogue, stage


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
def run(staging: Path) -> Run:
    """Provide a run with a pass, a fail, a waived fail and a criterion that was not selected."""
    return judged(staging)


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
    run: Run,
    catalogue: Catalogue,
    waivers: tuple[Waiver, ...],
    key: RunKey,
    clock: Callable[[], datetime],
) -> Path:
    """Provide a sealed bundle."""
    return seal(
        staging,
        tmp_path / "bundle",
        run=run,
        catalogue=catalogue,
        waivers=waivers,
        key=key,
        clock=clock,
    )


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Provide a function that copies a bundle to a new folder."""
    made: list[Path] = []

    def copy(source: Path) -> Path:
        made.append(tmp_path / f"copy-{len(made)}")
        return Path(shutil.copytree(source, made[-1], symlinks=True))

    return copy
