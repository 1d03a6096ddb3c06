"""Run the gates repeatedly and compare their verdicts and proofs.

``python -m tests.acceptance.stability --runs 20`` does it for the closing note of a release. Every
run repeats every proof. A verdict or a proof that differs once is a defect of a check, a fault or
the harness. All bundles are kept, so that the cause can be found.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def results(bundle: Path) -> dict[str, str]:
    """Return the outcome of every criterion and the result of every proof of a bundle."""
    run = json.loads((bundle / "data" / "run.json").read_text(encoding="utf-8"))
    found = {"run": f"{run['result']} ({run['exit_status']})"}
    for one in run["criteria"]:
        found[one["id"]] = f"{one['outcome']} ({one['cause']})"
        found |= {f"{one['id']}:{p['falsifier']}": p["result"] for p in one["proofs"]}
    return found


def run_once(out: Path, arguments: list[str]) -> tuple[dict[str, str], float]:
    """Run the gates once; return the results and the wall time in seconds."""
    command = [sys.executable, "-m", "pytest", "gates/", "-q", "--fresh", "-n", "auto"]
    began = time.monotonic()
    subprocess.run(
        [*command, "--evidence-out", str(out), *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return results(out / "latest"), time.monotonic() - began


def main() -> int:
    """Run the gates and print a line each time; return 1 when two runs differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "stability")
    parsed, arguments = parser.parse_known_args()
    first: dict[str, str] = {}
    differing = 0
    for number in range(1, parsed.runs + 1):
        found, took_s = run_once(parsed.out, arguments)
        first = first or found
        moved = sorted(name for name in {*first, *found} if first.get(name) != found.get(name))
        differing += bool(moved)
        sys.stdout.write(f"run {number:2d}: {found['run']}, {len(found)} results, {took_s:.0f} s\n")
        for name in moved:
            line = (
                f"  {name}: got {found.get(name)}, expected {first.get(name)} as in the first run\n"
            )
            sys.stdout.write(line)
        sys.stdout.flush()
    sys.stdout.write(f"{parsed.runs} runs, {differing} differ from the first\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
