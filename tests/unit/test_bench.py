"""The benchmarks measure what they say: small ones run, and a command that breaks is no figure."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from gateproof_evidence.verification.bundle import verify
from tests.bench import hashing, recording
from tests.bench.measure import BenchError, Case, Row, compare, run


def test_compare_gives_medians_and_their_ratios(tmp_path: Path) -> None:
    """Longer is a ratio above 1; each case ran once a round, in turns, and once to warm up."""
    began: list[str] = []
    cases = [
        Case(
            name=name,
            command=("sleep", str(seconds)),
            folder=tmp_path,
            before=partial(began.append, name),
        )
        for name, seconds in (("short", 0.1), ("long", 0.6))
    ]
    short, long = compare(cases, against="short", rounds=3, env=os.environ)
    assert (short.wall_ratio, short.cpu_ratio) == (1.0, 1.0)
    assert long.wall_ratio > 1, (short, long)
    assert long.cpu_s < long.wall_s / 2, "waiting is no work of the processor"
    assert began == ["short", "long"] * 4


def test_run_refuses_a_figure_of_a_command_that_broke(tmp_path: Path) -> None:
    """Another exit status than the case's is an error, with what the command printed."""
    broken = Case(name="broken", command=("sh", "-c", "echo why; exit 3"), folder=tmp_path)
    with pytest.raises(BenchError, match=r"broken: exit status: got 3, expected 0: why"):
        run(broken, os.environ)


def test_hashing_seals_and_verifies_bundles_that_are_whole(tmp_path: Path) -> None:
    """What it measures is a real bundle with every file, sealed anew each round."""
    rows = hashing.measure(tmp_path, files=40, mib=4, rounds=1)
    assert [row.name for row in rows] == [hashing.SHA256SUM, "seal", "verify"]
    found = verify(tmp_path / "bundle")
    assert found.ok
    assert found.predicate is not None
    bulk = [one for one in found.predicate.files if "/bulk/" in one.path]
    assert (len(bulk), sum(one.size for one in bulk)) == (40, 40 * (4 * 1024 * 1024 // 40))


def test_hashing_says_which_aim_is_missed() -> None:
    """Slower than sha256sum, or too much memory, is told; sha256sum itself is not judged."""
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


@pytest.mark.parametrize(("kind", "outcome"), [("bare", "inconclusive"), ("reading", "pass")])
def test_recording_seals_every_check(tmp_path: Path, kind: str, outcome: str) -> None:
    """The run that is measured judges each check and seals it, in a bundle that is whole."""
    folder, env = recording.prepare(tmp_path, kind=kind, checks=3)
    run(recording.gates_case(folder), env)
    bundle = (folder / "reports" / "latest").resolve()
    found = verify(bundle)
    assert found.ok
    told = (bundle / "data" / "run.json").read_text()
    assert told.count(f'"outcome": "{outcome}"') == 3
    shutil.rmtree(folder)
