"""The time of a run by step: a file for machines, and a table of where the time of proofs goes.

The file balances the shards of a later run, see `gateproof.proof.shard`.

Source of the times: `gateproof.stack.stopwatch`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from gateproof.run.writer import WriterResult
from gateproof.stack.stopwatch import STEPS
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.model.text import many

Item = Mapping[str, Any]
"""Labels and steps of one item, see `gateproof.stack.stopwatch.Stopwatch.taken`."""


def durations_of(results: Sequence[WriterResult], *, wall_s: float) -> dict[str, Any]:
    """Return the content of the file ``--durations-json``.

    Args:
        results: those of all writers.
        wall_s: the time of the whole run, from its start until before sealing.

    """
    items = [{"process": one.writer, **item} for one in results for item in one.durations]
    return {
        "processes": len(results),
        "wall_s": round(wall_s, 3),
        "checks": sum(map(_is_check, items)),
        "proofs": sum(bool(item["falsifier"]) for item in items),
        "items": sorted(items, key=wall_of, reverse=True),
    }


def write_durations(path: Path, content: Mapping[str, Any]) -> None:
    """Write the file.

    Raises:
        OSError: it cannot be written.

    """
    path.write_text(f"{json.dumps(content, indent=1)}\n", encoding="utf-8")


def read_durations(paths: Iterable[Path]) -> dict[str, int]:
    """Return the time of each item of earlier runs, by node id, in units of 0.1 ms.

    Whole numbers have the same sum in any order, so that all machines get the same shards.

    Args:
        paths: files that `write_durations` wrote; the longest time of an item counts.

    Raises:
        BadInputError: a file cannot be read or has another form.

    """
    found: dict[str, int] = {}
    for path in paths:
        try:
            items = json.loads(path.read_text(encoding="utf-8"))["items"]
            taken = {str(item["item"]): round(wall_of(item) * 10_000) for item in items}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            got = error.strerror if isinstance(error, OSError) else "another form"
            raise BadInputError(
                f"{path}: --shard-durations: got {got}, expected a file that --durations-json "
                "wrote; name such a file, or leave the option out"
            ) from error
        for name, time in taken.items():
            found[name] = max(time, found.get(name, 0))
    return found


def pace_line(content: Mapping[str, Any]) -> str:
    """Return the wall time of the run divided by its proofs, and the slowest proof."""
    proofs = [item for item in content["items"] if item["falsifier"]]
    slowest = max(proofs, key=wall_of)
    each_s = content["wall_s"] / len(proofs)
    name = f"{slowest['criterion']}:{slowest['falsifier']}"
    return (
        f"pace: {many(len(proofs), 'proof')} in {content['wall_s']:.0f} s with "
        f"{many(content['processes'], 'process', 'processes')}: {each_s:.2f} s each; "
        f"the slowest took {wall_of(slowest):.1f} s ({name})"
    )


def step_table(content: Mapping[str, Any]) -> Table:
    """Return a table of the seconds that checks and proofs took, by step."""
    checks = [item for item in content["items"] if _is_check(item)]
    proofs = [item for item in content["items"] if item["falsifier"]]
    table = _table("step", "checks s", "proofs s", "s a proof", "share", "processor s")
    whole_s = _wall(proofs) or 1.0
    for step in STEPS:
        if not any(step in item["steps"] for item in (*checks, *proofs)):
            continue
        spent_s = _sum(proofs, step, "wall_s")
        table.add_row(
            step,
            f"{_sum(checks, step, 'wall_s'):.1f}",
            f"{spent_s:.1f}",
            f"{spent_s / max(len(proofs), 1):.2f}",
            f"{spent_s / whole_s:.0%}",
            f"{_sum(proofs, step, 'process_s'):.1f}",
        )
    return table


def group_table(content: Mapping[str, Any]) -> Table:
    """Return a table of the seconds that proofs took, by kind of fault and by gate."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in content["items"]:
        if item["falsifier"]:
            groups[f"kind {item['fault_kind']}"].append(item)
            groups[f"gate {item['gate']}"].append(item)
    table = _table("proofs by", "n", "s", "s a proof", "slowest s")
    for name in sorted(groups, key=lambda one: (one.startswith("gate"), -_wall(groups[one]))):
        own = groups[name]
        table.add_row(
            name,
            str(len(own)),
            f"{_wall(own):.1f}",
            f"{_wall(own) / len(own):.2f}",
            f"{max(map(wall_of, own)):.1f}",
        )
    return table


def wall_of(item: Item) -> float:
    """Return the wall time of an item in seconds."""
    return float(sum(times["wall_s"] for times in item["steps"].values()))


def _is_check(item: Item) -> bool:
    """Return whether an item is a check; specimens of the self-proof have no criterion."""
    return bool(item["criterion"]) and not item["falsifier"]


def _wall(items: Iterable[Item]) -> float:
    return float(sum(map(wall_of, items)))


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _sum(items: Iterable[Item], step: str, clock: str) -> float:
    return float(sum(item["steps"].get(step, {}).get(clock, 0.0) for item in items))
