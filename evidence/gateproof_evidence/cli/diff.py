"""`gateproof diff`: what changed between two bundles, and which changes are regressions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from gateproof_evidence.cli.common import PATH, read_run
from gateproof_evidence.cli.status import FINDINGS, WHOLE
from gateproof_evidence.judging.difference import Change, Difference, compare
from gateproof_evidence.model import Run
from gateproof_evidence.model.text import one_line

_LINE_LIMIT = 300
"""The most characters of a message that a line shows; --json has all of them."""


@click.command()
@click.argument("before", type=PATH, metavar="A")
@click.argument("after", type=PATH, metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def diff(ctx: click.Context, before: Path, after: Path, *, as_json: bool) -> None:
    """Show what changed from bundle A to bundle B. This reads the bundles and verifies neither.

    Exit status: 0 no regression, 1 regressions, 4 bad input.
    """
    runs = read_run(before), read_run(after)
    found = compare(*runs)
    if as_json:
        click.echo(json.dumps(_json(found), indent=2))
    else:
        for line in _lines((before, after), runs, found):
            click.echo(line)
    ctx.exit(FINDINGS if found.regressions else WHOLE)


def _lines(paths: tuple[Path, Path], runs: tuple[Run, Run], found: Difference) -> Iterator[str]:
    for name, path, run in zip("AB", paths, runs, strict=True):
        commit = one_line(run.bindings.commit or "unknown")
        yield f"{name}: {path}: {run.result} (exit status {run.exit_status}), commit {commit}"
    yield from _part("moved", [_move(move.criterion, move.changes) for move in found.moved])
    later = {verdict.id: verdict for verdict in runs[1].criteria}
    yield from _part("appeared", [f"{name}: {later[name].outcome}" for name in found.appeared])
    yield from _part("vanished", found.vanished)
    yield from _part("proofs gained", found.proofs_gained)
    yield from _part("proofs lost", found.proofs_lost)
    yield from _part("bound to", [_change(change) for change in found.bindings])
    yield from _part("regressions", [str(one) for one in found.regressions])
    if not found.regressions:
        yield "no regression"
    yield "not verified by this command"


def _part(name: str, lines: list[str] | tuple[str, ...]) -> Iterator[str]:
    if lines:
        yield f"{name}: {len(lines)}"
    for line in lines:
        yield f"  {one_line(line)[:_LINE_LIMIT]}"


def _move(criterion: str, changes: tuple[Change, ...]) -> str:
    return f"{criterion}: {', '.join(_change(change) for change in changes)}"


def _change(change: Change) -> str:
    return f"{change.name} {change.before} → {change.after}"


def _json(found: Difference) -> dict[str, Any]:
    regressions = [one.model_dump(mode="json") for one in found.regressions]
    rest = asdict(found)
    return {**rest, "regressions": regressions, "regressed": bool(regressions)}
