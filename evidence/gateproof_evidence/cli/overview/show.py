"""`gateproof show`: an overview of a bundle in the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateproof_evidence.cli.common import LATEST, PATH, console, read_run
from gateproof_evidence.cli.overview.dossier import show_criterion, show_gate
from gateproof_evidence.cli.overview.phase import show_phases
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.model import Run
from gateproof_evidence.model.text import visible
from gateproof_evidence.reports.gate_summary import GateRow, gate_rows, total_row
from gateproof_evidence.reports.markdown import gap_page, slowest_section
from gateproof_evidence.reports.terminal import (
    gate_lines,
    gate_table,
    matrix_tables,
    proof_line,
    proof_table,
    shard_lines,
)


@click.command()
@click.argument("bundle", type=PATH, default=LATEST)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for the summary of a CI job.")
@click.option("--proofs", is_flag=True, help="List the falsifiers, and the kill matrix if any.")
@click.option("--gate", metavar="GATE", help="Show one gate, criterion by criterion.")
@click.option("--criterion", metavar="ID", help="Show one criterion with its captures.")
@click.option("--full", is_flag=True, help="With --criterion: every line of every capture.")
@click.option(
    "--phase",
    is_flag=False,
    flag_value="",
    metavar="[PHASE]",
    help="For each phase, or for one, show whether the next may begin and what blocks it.",
)
def show(
    bundle: Path,
    *,
    as_json: bool,
    markdown: bool,
    proofs: bool,
    gate: str | None,
    criterion: str | None,
    full: bool,
    phase: str | None,
) -> None:
    """Show the gates of BUNDLE (reports/latest). This reads the bundle and does not verify it."""
    _refuse_several(
        {
            "--markdown": markdown,
            "--proofs": proofs,
            "--gate": gate is not None,
            "--criterion": criterion is not None,
            "--phase": phase is not None,
        }
    )
    if markdown and as_json:
        raise click.UsageError("--markdown: got both this option and --json, expected one")
    if full and criterion is None:
        raise click.UsageError("--full: got this option without --criterion, expected both")
    source = open_source(bundle)
    run = read_run(source)
    if phase is not None:
        show_phases(source, run, phase or None, as_json=as_json)
    elif gate is not None:
        show_gate(run, gate, as_json=as_json)
    elif criterion is not None:
        show_criterion(source, run, criterion, full=full, as_json=as_json)
    elif proofs:
        _show_proofs(run, as_json=as_json)
    else:
        _show_run(run, markdown=markdown, as_json=as_json)


def _refuse_several(forms: Mapping[str, bool]) -> None:
    given = [name for name, wanted in forms.items() if wanted]
    if len(given) > 1:
        raise click.UsageError(f"{given[1]}: got both this option and {given[0]}, expected one")


def _show_run(run: Run, *, markdown: bool, as_json: bool) -> None:
    if markdown:
        click.echo(f"{gap_page(run)}{slowest_section(run)}", nl=False)
        return
    if as_json:
        rows = [_row_json(row) for row in (*gate_rows(run), total_row(run))]
        reasons = [line.plain for line in gate_lines(run)]
        document: dict[str, Any] = {"result": run.result, "gates": rows, "open": reasons}
        if run.shard is not None or run.merged is not None:
            document["shards"] = list(shard_lines(run))
        click.echo(json.dumps(document, indent=2))
        return
    out = console()
    out.print(gate_table(run))
    for line in gate_lines(run):
        out.print(line, soft_wrap=True)
    for text in shard_lines(run):
        click.echo(visible(text))
    out.print(f"{run.result} (exit status {run.exit_status}); not verified by this command")


def _show_proofs(run: Run, *, as_json: bool) -> None:
    if as_json:
        rows = [
            {"criterion": verdict.id, **proof.model_dump(mode="json")}
            for verdict in run.criteria
            for proof in verdict.proofs
        ]
        cells = [cell.model_dump(mode="json") for cell in run.matrix]
        specimens = [one.model_dump(mode="json") for one in run.self_proof]
        document = {"proofs": rows, "self_proof": specimens, "matrix": cells}
        click.echo(json.dumps(document, indent=2))
        return
    out = console()
    out.print(proof_table(run))
    for table in matrix_tables(run):
        out.print(table)
    out.print(proof_line(run))


def _row_json(row: GateRow) -> dict[str, Any]:
    counts = {outcome.value: count for outcome, count in row.counts.items()}
    return {**vars(row), "counts": counts}
