"""`gateproof export`: write the run in a format that other tools read."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateproof_evidence.cli.common import PATH, read_run, write_new
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.reports.exports.registry import EXPORTS, export_named


@click.command()
@click.argument("bundle", type=PATH)
@click.option(
    "--format",
    "name",
    type=click.Choice([one.name for one in EXPORTS]),
    required=True,
    help="The format: docs/reference/exports.md describes what each one contains and omits.",
)
@click.option("--out", type=PATH, help="A new file to write to; standard output by default.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="With --out: print one JSON object that describes the file.",
)
def export(bundle: Path, name: str, out: Path | None, *, as_json: bool) -> None:
    """Write the run of BUNDLE in a standard format. This reads the bundle and does not verify it.

    The same bytes are under data/exports/ in the bundle, and its signature covers them.
    """
    if as_json and out is None:
        raise click.UsageError(
            "--json: got no --out, expected a file; without it the export itself is printed"
        )
    content = export_named(name).render(read_run(bundle))
    if out is None:
        click.echo(content, nl=False)
        return
    write_new(out, content)
    digest = digest_of(content)
    if as_json:
        summary = {"format": name, "path": str(out), "size": len(content), "digest": digest}
        click.echo(json.dumps(summary, indent=2))
    else:
        click.echo(f"{out}: {name}, {len(content)} bytes, {digest}")
