"""Compare the outcomes of two runs: ``python -m tests.acceptance.agreement A B``.

The environments must agree: a criterion that passes embedded passes in containers. Proofs and times
may differ, outcomes and causes may not.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def outcomes(bundle: Path) -> dict[str, str]:
    """Return outcome and cause of every criterion of a bundle."""
    run = json.loads((bundle / "data" / "run.json").read_text(encoding="utf-8"))
    return {one["id"]: f"{one['outcome']} ({one['cause']})" for one in run["criteria"]}


def disagreements(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return a line for every criterion whose outcomes differ."""
    return [
        f"{name}: got {one.get(name)} and {other.get(name)}, expected the same"
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]


def main(one: Path, other: Path) -> int:
    """Print the disagreements of two bundles; return 0 for none, unless both are empty."""
    found = outcomes(one), outcomes(other)
    lines = disagreements(*found)
    count = len(lines)
    lines.append(f"{len(found[0])} and {len(found[1])} criteria, {count} disagreements")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if not count and found[0] else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("one", type=Path, help="a bundle")
    parser.add_argument("other", type=Path, help="a bundle of the other environment")
    parsed = parser.parse_args()
    sys.exit(main(parsed.one, parsed.other))
