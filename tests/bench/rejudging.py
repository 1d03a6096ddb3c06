"""Compare judging a bundle again with verifying it.

``python -m tests.bench.rejudging``: a generated bundle of 150 criteria with six proofs each. Both
commands run in turns, each in a process of its own; judging again includes verifying.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from tests.bench.measure import Case, Row, compare, table
from tests.sample import fixed_key, make_bundle
from tests.sample.plan import FAULTS, MANY, criteria_of

VERIFY, REJUDGE = "verify", "rejudge"
PROOFS = 6
LONGEST_S = 5.0


def main() -> None:
    """Measure and print; exit with 1 when the aim is missed and `--strict` is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--criteria", type=int, default=150, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when the aim is missed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), criteria=options.criteria, rounds=options.rounds)
    missed = aims_missed(rows)
    if options.json:
        printed = [asdict(row) for row in rows]
        print(json.dumps({"rows": printed, "missed": missed}, indent=2))  # noqa: T201 (its output)
    else:
        print(f"{options.criteria} criteria, {options.criteria * PROOFS} proofs")  # noqa: T201
        print(table(rows, against=VERIFY))  # noqa: T201
        print("\n".join(missed) or "the aim holds")  # noqa: T201
    sys.exit(1 if options.strict and missed else 0)


def measure(folder: Path, *, criteria: int, rounds: int) -> tuple[Row, ...]:
    """Make the bundle, and run both commands over it in turns.

    Args:
        folder: gets the bundle.
        criteria: the number of criteria, 26,000 or fewer.
        rounds: how often each command is measured.

    Raises:
        BenchError: a command reports a finding or a difference.

    """
    faults = tuple(replace(FAULTS[0], name=f"fault-{number}") for number in range(PROOFS))
    plan = replace(MANY, faults=faults, per_check=4, per_proof_step=3)
    bundle = make_bundle(folder / "bundle", plan, criteria=criteria_of(criteria), key=fixed_key())
    own = (sys.executable, "-m", "gateproof_evidence")
    cases = [
        Case(name=name, command=(*own, name, bundle), folder=folder) for name in (VERIFY, REJUDGE)
    ]
    return compare(cases, against=VERIFY, rounds=rounds, env=os.environ)


def aims_missed(rows: tuple[Row, ...]) -> list[str]:
    """Return a line if judging again takes too long."""
    return [
        f"{row.name}: {row.wall_s} s, aim {LONGEST_S} s"
        for row in rows
        if row.name == REJUDGE and row.wall_s > LONGEST_S
    ]


if __name__ == "__main__":
    main()
