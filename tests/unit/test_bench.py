"""The benchmarks measure real cases: small ones run, and a command that fails gives no figure."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from gateproof_evidence.verification.bundle import verify
from tests.bench import hashing, recording, rejudging, shards
from tests.bench.measure import BenchError, Case, Row, compare, run


def test_compare_gives_medians_and_their_ratios(tmp_path: Path) -> None:
    """A slower case has a ratio above 1; each case runs once to warm up, then once a round."""
    started: list[str] = []
    cases = [
        Case(
            name=name,
            command=("sleep", str(seconds)),
            folder=tmp_path,
            before=partial(started.append, name),
        )
        for name, seconds in (("short", 0.1), ("long", 0.6))
    ]
    short, long = compare(cases, against="short", rounds=3, env=os.environ)
    assert (short.wall_ratio, short.cpu_ratio) == (1.0, 1.0)
    assert long.wall_ratio > 1, (short, long)
    assert long.cpu_s < long.wall_s / 2, "waiting needs no processor time"
    assert started == ["short", "long"] * 4


def test_run_gives_no_figure_of_a_command_that_fails(tmp_path: Path) -> None:
    """An unexpected exit status is an error that shows the output of the command."""
    broken = Case(name="broken", command=("sh", "-c", "echo why; exit 3"), folder=tmp_path)
    with pytest.raises(BenchError, match=r"broken: exit status: got 3, expected 0: why"):
        run(broken, os.environ)


def test_hashing_seals_and_verifies_complete_bundles(tmp_path: Path) -> None:
    """The measured bundle has every file, and is sealed again each round."""
    rows = hashing.measure(tmp_path, files=40, mib=4, rounds=1)
    assert [row.name for row in rows] == [hashing.SHA256SUM, "seal", "verify"]
    found = verify(tmp_path / "bundle")
    assert found.ok
    assert found.predicate is not None
    bulk = [one for one in found.predicate.files if "/bulk/" in one.path]
    heading = 64
    texts = 4 * 1024 * 1024 // 40
    assert len(bulk) == 40
    assert all(0 <= one.size - texts <= heading for one in bulk)


def test_hashing_names_each_missed_aim() -> None:
    """A case that is slower than sha256sum or needs too much memory is named, not sha256sum."""
    fields = {"wall_s": 1.0, "cpu_s": 1.0, "cpu_ratio": 1.0}
    rows = (
        Row(name=hashing.SHA256SUM, wall_ratio=1.0, peak_mb=900.0, **fields),
        Row(name="seal", wall_ratio=1.01, peak_mb=199.0, **fields),
        Row(name="verify", wall_ratio=0.5, peak_mb=201.0, **fields),
    )
    assert hashing.aims_missed(rows) == [
        "seal: 1.01 × sha256sum, aim 1.0",
        "verify: 201 MB, aim 200",
    ]


def test_rejudging_measures_a_bundle_without_differences(tmp_path: Path) -> None:
    """Both commands accept the measured bundle; each of its criteria has the proofs."""
    rows = rejudging.measure(tmp_path, criteria=2, rounds=1)
    assert [row.name for row in rows] == [rejudging.VERIFY, rejudging.REJUDGE]
    assert len([*(tmp_path / "bundle/data/transcripts").glob("*/*/*.txt")]) == 2 * rejudging.PROOFS


def test_rejudging_names_a_missed_aim() -> None:
    """Judging again that takes longer than the aim is named, and verifying is not."""
    fields = {"cpu_s": 1.0, "peak_mb": 1.0, "wall_ratio": 1.0, "cpu_ratio": 1.0}
    verify_row = Row(name=rejudging.VERIFY, wall_s=9.0, **fields)
    fast = Row(name=rejudging.REJUDGE, wall_s=5.0, **fields)
    assert rejudging.aims_missed((verify_row, fast)) == []
    slow = Row(name=rejudging.REJUDGE, wall_s=5.1, **fields)
    assert rejudging.aims_missed((verify_row, slow)) == ["rejudge: 5.1 s, aim 5.0 s"]


@pytest.mark.parametrize(("kind", "outcome"), [("bare", "inconclusive"), ("reading", "pass")])
def test_recording_seals_every_check(tmp_path: Path, kind: str, outcome: str) -> None:
    """The measured run judges each check and seals it in a bundle that verifies."""
    folder, env = recording.prepare(tmp_path, kind=kind, checks=3)
    run(recording.gates_case(folder), env)
    bundle = (folder / "reports" / "latest").resolve()
    found = verify(bundle)
    assert found.ok
    text = (bundle / "data" / "run.json").read_text()
    assert text.count(f'"outcome": "{outcome}"') == 3
    shutil.rmtree(folder)


def test_shards_are_judged_merged_and_measured(tmp_path: Path) -> None:
    """Every step has a cost, and the merged run is released: verifying it is one of the steps."""
    tmp_path.chmod(0o755)
    found = shards.measure(tmp_path, criteria=4, shards=2)
    assert (found.criteria, found.proofs) == (4, 16)
    names = [step.name.strip() for step in found.steps]
    assert names == ["shards, all", "shard, longest", "sealing of it", "merge", "verify", "report"]
    assert all(step.wall_s > 0 for step in found.steps)
    assert next(shards.ratios(found, found)).endswith("criteria 1.00 times")
