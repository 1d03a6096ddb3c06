"""Measure how the cost of shards and their merge grows with the catalogue.

``python -m tests.bench.shards [--criteria 1250 5000] [--shards 8]``: writes a project with
generated checks, each with four proofs and no database, judges it in shards, two at a time, and
merges, verifies and renders the result. Prints time and largest resident set of each step, and the
ratio of the largest size to the smallest. One pytest process judges a shard, so its resident set is
that of a process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import BenchError

FALSIFIERS = 4
A_MODULE = 50
"""The checks of one generated module."""
NONCE = "5eed" * 8
LARGEST_MB = 300
"""The most memory that a process may take, with 5,000 criteria and 20,000 proofs."""
LINEAR = 1.25
"""The factor by which the largest size may exceed its share of the time of the smallest."""

SYSTEM = "RATE = 20\n"
MODULE = """
from gateproof import claim, criterion, falsified_by, source

def make(name):
    def check(files):
        rate = files.read("rates.py").strip()
        claim("rate", on=name, got=rate, expected="RATE = 20")
    for number in range({falsifiers}):
        changed = f"RATE = {{number}}"
        fault = source(f"rate-{{number}}", "rates.py", "RATE = 20", changed, imports=False)
        check = falsified_by(fault, expect=("rate", name))(check)
    return criterion(name)(check)

for number in range({first}, {last}):
    globals()[f"test_{{number:05}}"] = make(f"G{{number:05}}")
"""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The cost of one step."""

    name: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    """The largest resident set of its process."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The costs of one size."""

    criteria: int
    proofs: int
    steps: tuple[Step, ...]

    def lines(self) -> Iterator[str]:
        """Yield the figures of each step."""
        yield f"{self.criteria} criteria, {self.proofs} proofs"
        for step in self.steps:
            figures = f"{step.wall_s:8.1f} s  {step.cpu_s:8.1f} s cpu  {step.peak_mb:6.0f} MB"
            yield f"  {step.name:<18}{figures}"


def write_project(folder: Path, criteria: int) -> None:
    """Write a project with generated checks and commit it."""
    (folder / "gates").mkdir(parents=True)
    (folder / "rates.py").write_text(SYSTEM)
    (folder / "sut.toml").write_text('name = "rates"\nroot = "."\nsources = ["rates.py"]\n')
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / ".gitignore").write_text("__pycache__/\n")
    catalogue = (
        f'[[criterion]]\nid = "G{n:05}"\ngate = "g{n // 100:03}"\nphase = "1.0"\n'
        f'statement = "Rate {n} is 20."\nsource = "contract"\n'
        for n in range(criteria)
    )
    (folder / "gates/criteria.toml").write_text("".join(catalogue))
    for first in range(0, criteria, A_MODULE):
        last = min(first + A_MODULE, criteria)
        text = MODULE.format(first=first, last=last, falsifiers=FALSIFIERS)
        (folder / f"gates/test_{first:05}.py").write_text(text)
    author = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "Add the rates")):
        subprocess.run(["git", *author, *command], cwd=folder, check=True)


def run_step(name: str, command: Sequence[str], folder: Path, status: int) -> tuple[Step, str]:
    """Run a command to completion; return its cost and its output.

    Raises:
        BenchError: it ends with another status.

    """
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, ended, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(ended)
        wall_s = time.monotonic() - began
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode != status:
        raise BenchError(f"{name}: got status {process.returncode}, expected {status}\n{text}")
    step = Step(
        name=name,
        wall_s=wall_s,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_mb=used.ru_maxrss / 1024,
    )
    return step, text


def judge(project: Path, out: Path, number: int, shards: int) -> tuple[Step, float]:
    """Judge one shard; return its cost and the time of sealing, which is a part of it."""
    command = [sys.executable, "-m", "pytest", "gates", "-p", "no:cacheprovider", "-p", "no:html"]
    command += ["--sut=sut.toml", "--environment=embedded", f"--nonce={NONCE}"]
    command += [f"--shard={number}/{shards}", f"--evidence-out={out}/{number}"]
    step, text = run_step(f"shard {number}", command, project, 100)
    return step, float(text.partition("sealing ")[2].partition(" s")[0])


def measure(folder: Path, criteria: int, shards: int) -> Growth:
    """Measure one size in a new folder."""
    project, out = folder / "project", folder / "out"
    write_project(project, criteria)
    out.mkdir()
    with ThreadPoolExecutor(2) as pool:
        numbers = range(1, shards + 1)
        judged = list(pool.map(lambda number: judge(project, out, number, shards), numbers))
    gateproof = str(Path(sys.executable).parent / "gateproof")
    bundles = [str(out / str(number) / "latest") for number in numbers]
    merged = str(out / "merged")
    commands = {
        "merge": (gateproof, "merge", "--out", merged, *bundles),
        "verify": (gateproof, "verify", merged, "--require-released"),
        "report": (gateproof, "render", merged, "--out", str(out / "report.html")),
    }
    others = [run_step(name, command, folder, 0)[0] for name, command in commands.items()]
    own = [step for step, _ in judged]
    sealing = [seconds for _, seconds in judged]
    return Growth(
        criteria=criteria,
        proofs=criteria * FALSIFIERS,
        steps=(
            Step(
                name="shards, all",
                wall_s=sum(step.wall_s for step in own),
                cpu_s=sum(step.cpu_s for step in own),
                peak_mb=max(step.peak_mb for step in own),
            ),
            Step(
                name="shard, longest",
                wall_s=max(step.wall_s for step in own),
                cpu_s=max(step.cpu_s for step in own),
                peak_mb=max(step.peak_mb for step in own),
            ),
            Step(name="  sealing of it", wall_s=max(sealing), cpu_s=0, peak_mb=0),
            *others,
        ),
    )


def ratios(smallest: Growth, largest: Growth) -> Iterator[str]:
    """Yield the growth of each step, compared with that of the criteria."""
    factor = largest.criteria / smallest.criteria
    for before, after in zip(smallest.steps, largest.steps, strict=True):
        took = after.cpu_s / before.cpu_s if before.cpu_s else after.wall_s / before.wall_s
        memory = f", memory {after.peak_mb / before.peak_mb:.2f} times" if before.peak_mb else ""
        yield f"  {after.name:<18}time {took:.2f} times{memory}, criteria {factor:.2f} times"


def main() -> int:
    """Measure each size, print the figures, and compare them with the aims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--criteria", type=int, nargs="+", default=[1250, 5000])
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="a folder with space; by default a new one")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where an aim is missed")
    asked = parser.parse_args()
    found: list[Growth] = []
    for criteria in asked.criteria:
        folder = Path(tempfile.mkdtemp(prefix="shards-", dir=asked.folder))
        folder.chmod(0o755)
        try:
            found.append(measure(folder, criteria, asked.shards))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if not asked.json:
            print("\n".join(found[-1].lines()), flush=True)  # noqa: T201 (the result)
    if asked.json:
        rows = [{**vars(one), "steps": [vars(step) for step in one.steps]} for one in found]
        print(json.dumps(rows, indent=1))  # noqa: T201
    elif len(found) > 1:
        print("\n".join(ratios(found[0], found[-1])))  # noqa: T201
    worst = max(step.peak_mb for step in found[-1].steps)
    return int(asked.strict and worst > LARGEST_MB)


if __name__ == "__main__":
    sys.exit(main())
