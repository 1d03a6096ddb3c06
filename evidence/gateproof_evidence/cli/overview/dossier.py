"""`gateproof show --gate` and `--criterion`: all that is known of one gate or one criterion."""

from __future__ import annotations

import json

import click

from gateproof_evidence.cli.common import console, read_records
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.model import Run, Verdict
from gateproof_evidence.reports.dossier import criterion_dossier, gate_dossier
from gateproof_evidence.reports.gate_summary import of_gate
from gateproof_evidence.reports.quotation import Captures


def show_gate(run: Run, gate: str, *, as_json: bool) -> None:
    """Print one gate, criterion by criterion.

    Raises:
        BadInputError: the run has no gate with that name.

    """
    own = of_gate(run, gate)
    if not own:
        gates = ", ".join(dict.fromkeys(verdict.gate for verdict in run.criteria))
        raise BadInputError(f"--gate: got {gate}, expected one of {gates}; name one of them")
    if as_json:
        verdicts = [verdict.model_dump(mode="json") for verdict in own]
        click.echo(json.dumps({"gate": gate, "criteria": verdicts}, indent=2))
        return
    out = console()
    for part in gate_dossier(run, gate):
        out.print(part)


def show_criterion(bundle: Source, run: Run, name: str, *, full: bool, as_json: bool) -> None:
    """Print one criterion, its proofs, and its captures with their text.

    Raises:
        BadInputError: the run has no criterion with that id, or no journal.

    """
    verdict = _find(run, name)
    if as_json:
        click.echo(json.dumps(verdict.model_dump(mode="json"), indent=2))
        return
    out, captures = console(), Captures(bundle)
    for part in criterion_dossier(verdict, read_records(bundle), captures, full=full):
        out.print(part, soft_wrap=False)


def _find(run: Run, name: str) -> Verdict:
    for verdict in run.criteria:
        if verdict.id == name.upper():
            return verdict
    raise BadInputError(
        f"--criterion: got {name}, expected a criterion of this run, such as "
        f"{run.criteria[0].id}; gateproof show --gate GATE lists those of a gate"
        if run.criteria
        else f"--criterion: got {name}, expected a run that has criteria; this one has none"
    )
