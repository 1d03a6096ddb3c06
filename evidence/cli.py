"""The command line: verify a bundle, show it, make a key.

Owns arguments, words and exit statuses; the only place that ends the process. Leaves every rule to
the modules it calls.

Source: design, "Command line"; spec, "Exit status".
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from rich.console import Console

from evidence import consistency
from evidence.canonical import JsonError, read_json
from evidence.errors import BadInputError, EvidenceError
from evidence.model import Run
from evidence.reports.gaps import GateRow, gate_rows, total_row
from evidence.reports.markdown import gap_page
from evidence.reports.terminal import (
    gate_lines,
    gate_table,
    matrix_tables,
    proof_line,
    proof_table,
)
from evidence.signing import generate
from evidence.verification import UNKNOWN, Verification
from evidence.verification import verify as verify_bundle

COMMANDS = "gateproof.commands"

WHOLE, FINDINGS, BAD_INPUT = 0, 1, 4
"""Exit statuses of every command."""

_PATH = click.Path(path_type=Path)


class _BadUsage(click.UsageError):
    """Usage that is wrong is bad input too."""

    exit_code = BAD_INPUT


class _Group(click.Group):
    """Turns our errors into one line on standard error, and all bad input into one status.

    Commands of other packages join by the entry point group `COMMANDS`: this package imports none.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *entry_points(group=COMMANDS).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        for entry in entry_points(group=COMMANDS, name=cmd_name):
            command = entry.load()
            assert isinstance(command, click.Command)
            return command
        return None

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            raise _bad_usage(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _bad_usage(error) from error
        except EvidenceError as error:
            click.echo(_one_line(str(error)), err=True)
            ctx.exit(BAD_INPUT)


def _bad_usage(error: click.UsageError) -> click.UsageError:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error
    return _BadUsage(error.format_message(), ctx=error.ctx)


@click.group(cls=_Group)
@click.version_option(package_name="gateproof")
def main() -> None:
    """Verify and read sealed bundles of gate runs."""


@main.command()
@click.argument("bundle", type=_PATH)
@click.option("--key", type=_PATH, help="The signer's public key, from outside the bundle.")
@click.option("--require-released", is_flag=True, help="Anything but a release is a finding.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def verify(
    ctx: click.Context, bundle: Path, key: Path | None, *, require_released: bool, as_json: bool
) -> None:
    """Verify BUNDLE: every file as it was sealed, none added, none gone, the signature holds.

    Exit status: 0 whole, 1 findings, 4 bad input.
    """
    content = _read(key, "public key") if key else None
    found = verify_bundle(bundle, key=content, require_released=require_released)
    if as_json:
        click.echo(json.dumps(_verification_json(found), indent=2))
    else:
        _print_verification(bundle, found)
    ctx.exit(WHOLE if found.ok else FINDINGS)


@main.command()
@click.argument("bundle", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for the summary of a CI job.")
@click.option("--proofs", is_flag=True, help="List the falsifiers, and the kill matrix if any.")
def show(bundle: Path, *, as_json: bool, markdown: bool, proofs: bool) -> None:
    """Show the gates of BUNDLE. This reads the bundle and does not verify it."""
    if markdown and (as_json or proofs):
        raise click.UsageError("--markdown: got both it and another form, expected one")
    run = _read_run(bundle)
    if proofs:
        _show_proofs(run, as_json=as_json)
        return
    if markdown:
        click.echo(gap_page(run), nl=False)
        return
    if as_json:
        rows = [_row_json(row) for row in (*gate_rows(run), total_row(run))]
        reasons = [line.plain for line in gate_lines(run)]
        click.echo(json.dumps({"result": run.result, "gates": rows, "open": reasons}, indent=2))
        return
    console = _console()
    console.print(gate_table(run))
    for line in gate_lines(run):
        console.print(line, soft_wrap=True)
    console.print(f"{run.result} (exit status {run.exit_status}); not verified by this command")


@main.command()
@click.argument("path", type=_PATH)
def keygen(path: Path) -> None:
    """Make a signing key at PATH, and its public half at PATH.pub.pem."""
    key = generate(path)
    click.echo(f"{path}: private key, readable by you alone: --signing-key {path}")
    click.echo(f"{path}.pub.pem: public key, for those who verify; key id {key.keyid}")


def _show_proofs(run: Run, *, as_json: bool) -> None:
    if as_json:
        rows = [
            {"criterion": verdict.id, **proof.model_dump(mode="json")}
            for verdict in run.criteria
            for proof in verdict.proofs
        ]
        cells = [cell.model_dump(mode="json") for cell in run.matrix]
        specimens = [one.model_dump(mode="json") for one in run.self_proof]
        told = {"proofs": rows, "self_proof": specimens, "matrix": cells}
        click.echo(json.dumps(told, indent=2))
        return
    console = _console()
    console.print(proof_table(run))
    for table in matrix_tables(run):
        console.print(table)
    console.print(proof_line(run))


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


# --- words -----------------------------------------------------------------------------------


def _print_verification(bundle: Path, found: Verification) -> None:
    for finding in found.findings:
        click.echo(str(finding))
    count = len(found.findings)
    verdict = "whole" if found.ok else f"{count} finding{'s' if count > 1 else ''}"
    click.echo(f"{bundle}: {verdict}")
    click.echo(_signer(found))
    if found.predicate:
        files = len(found.predicate.files)
        click.echo(
            f"attested: {found.predicate.result} (exit status {found.predicate.exit_status}), "
            f"{len(found.predicate.criteria)} criteria, {files} files, "
            f"commit {found.predicate.commit or 'unknown'}"
            f"{', dirty' if found.predicate.dirty else ''}, sealed {found.predicate.sealed}"
        )


def _signer(found: Verification) -> str:
    if found.predicate is None:
        return "signer: the signature does not hold, nothing here is vouched for"
    if found.signer == UNKNOWN:
        return "signer unknown: integrity only, nobody vouches for it"
    return f"signed by {found.signer}, the key that was given"


def _verification_json(found: Verification) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "signer": found.signer,
        "result": found.result,
        "findings": [
            {"code": finding.code, "path": finding.path, "message": finding.message}
            for finding in found.findings
        ],
        "attested": found.predicate.model_dump(mode="json", exclude={"files"})
        if found.predicate
        else None,
    }


def _row_json(row: GateRow) -> dict[str, Any]:
    counts = {outcome.value: count for outcome, count in row.counts.items()}
    return {**vars(row), "counts": counts}


# --- reading ---------------------------------------------------------------------------------


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"{path}: {what}: got {error.strerror}, expected a readable file; name another"
        ) from error


def _read_run(bundle: Path) -> Run:
    path = bundle / consistency.RUN
    content = _read(path, "bundle")
    try:
        return Run.model_validate(read_json(content))
    except (JsonError, ValidationError) as error:
        raise BadInputError(
            f"{path}: run: got {error}, expected the run.json of a sealed bundle; "
            "gateproof verify says more"
        ) from error


def _one_line(text: str) -> str:
    return " ".join(text.split())
