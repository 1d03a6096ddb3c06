"""`gateproof show --phase`: whether the next phase may begin, and what stands in the way."""

from __future__ import annotations

import json
from typing import Any

import click

from evidence.model import Run
from evidence.phase import Phase, find_phase, phases

_LINE_LIMIT = 300
"""How much of a reason a line shows, as in the other tables; the report has all of it."""

_OPEN = "; what stands in the way:"


def show_phases(run: Run, name: str | None, *, as_json: bool) -> None:
    """Print every phase of a run, or one.

    Raises:
        BadInputError: the run has no phase of that name.

    """
    shown = phases(run) if name is None else (find_phase(run, name),)
    if as_json:
        click.echo(json.dumps({"phases": [_phase_json(one) for one in shown]}, indent=2))
        return
    for one in shown:
        _print_phase(one)
    click.echo("not verified by this command")


def _print_phase(phase: Phase) -> None:
    many = len(phase.criteria)
    click.echo(f"{phase.id}: {phase.result} ({many} {'criterion' if many == 1 else 'criteria'})")
    if phase.next is None:
        click.echo(
            "  the last phase" + ("" if phase.next_may_begin else "; what stands in the way:")
        )
    elif phase.next_may_begin:
        click.echo(f"  {phase.next} may begin")
    else:
        click.echo(f"  {phase.next} may not begin{_OPEN}")
    for reason in phase.in_the_way:
        click.echo(f"  - {' '.join(reason.split())[:_LINE_LIMIT]}")


def _phase_json(phase: Phase) -> dict[str, Any]:
    return {**vars(phase), "next_may_begin": phase.next_may_begin}
