"""Runs the gates again and again and holds their verdicts and proofs against each other.

``python -m tests.acceptance.stability --runs 20`` does it for the closing note of a release. Every
run repeats every proof. A verdict or a proof that differs once is a defect of a check, a fault or
the harness: its bundles stay where they are, for finding the cause.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def said(bundle: Path) -> dict[str, str]:
    """Return what a bundle says of every criterion and every proof."""
    run = json.loads((bundle / "data" / "run.json").read_text(encoding="utf-8"))
    told = {"run": f"{run['result']} ({run['exit_status']})"}
    for one in run["criteria"]:
        told[one["id"]] = f"{one['outcome']} ({one['cause']})"
        told |= {f"{one['id']}:{p['falsifier']}": p["result"] for p in one["proofs"]}
    return told


def run_once(out: Path, arguments: list[str]) -> tuple[dict[str, str], float]:
    """Run the gates once; return what the bundle says, and the wall time in seconds."""
    command = [sys.executable, "-m", "pytest", "gates/", "-q", "--fresh", "-n", "auto"]
    began = time.monotonic()
    subprocess.run(
        [*command, "--evidence-out", str(out), *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return said(out / "latest"), time.monotonic() - began


def main() -> int:
    """Run, print a line each, and exit with 1 when two runs differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "stability")
    parsed, arguments = parser.parse_known_args()
    first: dict[str, str] = {}
    differing = 0
    for number in range(1, parsed.runs + 1):
        told, took_s = run_once(parsed.out, arguments)
        first = first or told
        moved = sorted(name for name in {*first, *told} if first.get(name) != told.get(name))
        differing += bool(moved)
        sys.stdout.write(f"run {number:2d}: {told['run']}, {len(told)} said, {took_s:.0f} s\n")
        for name in moved:
            line = f"  {name}: got {told.get(name)}, the first run said {first.get(name)}\n"
            sys.stdout.write(line)
        sys.stdout.flush()
    sys.stdout.write(f"{parsed.runs} runs, {differing} differ from the first\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
