"""`gateproof show --phase`: whether the next phase may begin, and what blocks it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gateproof_evidence.additions.addition import AdditionLimit, in_folder
from gateproof_evidence.additions.sign_off import SignOff, read_signoffs
from gateproof_evidence.cli.review import signoff_line
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.layout import SIGNOFFS
from gateproof_evidence.format.tree import Reading
from gateproof_evidence.judging.phase import Phase, find_phase, phases
from gateproof_evidence.model import Run
from gateproof_evidence.model.text import many, one_line

_LINE_LIMIT = 300
"""The most characters of a reason that a line shows; the report has all of them."""

_OPEN = "; blocked by:"


def show_phases(bundle: Source, run: Run, name: str | None, *, as_json: bool) -> None:
    """Print every phase of a run, or one, with the sign-offs that are in the bundle.

    Args:
        bundle: where its sign-offs are read from.
        run: the run of that bundle.
        name: the phase; None for all.
        as_json: whether to print JSON.

    Raises:
        BadInputError: the run has no phase with that name.

    """
    if name is not None and Path(name).is_dir():
        raise BadInputError(
            f"--phase: got {name}, a folder, expected the name of a phase; the bundle comes first: "
            f"gateproof show {name} --phase"
        )
    shown = phases(run) if name is None else (find_phase(run, name),)
    signoffs = _signoffs(bundle)
    if as_json:
        shown_json = [_phase_json(one, signoffs) for one in shown]
        click.echo(json.dumps({"phases": shown_json}, indent=2))
        return
    for one in shown:
        _print_phase(one, signoffs)
    click.echo("not verified by this command")


def _signoffs(bundle: Source) -> tuple[SignOff, ...]:
    """Return the sign-offs that can be read; verification reports the others."""
    additions = AdditionLimit()
    files = bundle.read_tree(Reading(keep=additions.limit)).files
    return read_signoffs(in_folder(files, SIGNOFFS))[0]


def _print_phase(phase: Phase, signoffs: tuple[SignOff, ...]) -> None:
    criteria = many(len(phase.criteria), "criterion", "criteria")
    click.echo(f"{phase.id}: {phase.result} ({criteria})")
    if phase.next is None:
        click.echo("  the last phase" + ("" if phase.next_may_begin else _OPEN))
    elif phase.next_may_begin:
        click.echo(f"  {phase.next} may begin")
    else:
        click.echo(f"  {phase.next} may not begin{_OPEN}")
    for reason in phase.in_the_way:
        click.echo(f"  - {one_line(reason)[:_LINE_LIMIT]}")
    for one in signoffs:
        if one.statement.covers(phase.id):
            click.echo(f"  unverified sign-off: {signoff_line(one.statement, verified=False)}")


def _phase_json(phase: Phase, signoffs: tuple[SignOff, ...]) -> dict[str, Any]:
    signed = [
        one.statement.model_dump(mode="json", by_alias=True)
        for one in signoffs
        if one.statement.covers(phase.id)
    ]
    return {**vars(phase), "next_may_begin": phase.next_may_begin, "unverified_signoffs": signed}
