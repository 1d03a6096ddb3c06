"""`gateproof export`: the run in a format that other tools read."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateproof_evidence.cli.common import PATH, read_run
from gateproof_evidence.errors import NotWritableError
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.reports.exports.registry import EXPORTS, export_named


@click.command()
@click.argument("bundle", type=PATH)
@click.option(
    "--format",
    "name",
    type=click.Choice([one.name for one in EXPORTS]),
    required=True,
    help="Which form: docs/reference/exports.md says what each holds and leaves out.",
)
@click.option("--out", type=PATH, help="Write to a file that does not exist yet.")
@click.option("--json", "as_json", is_flag=True, help="With --out: print one JSON object about it.")
def export(bundle: Path, name: str, out: Path | None, *, as_json: bool) -> None:
    """Write the run of BUNDLE in another format. This reads the bundle and does not verify it.

    The same bytes lie under data/exports/ of the bundle, where its signature covers them.
    """
    if as_json and out is None:
        raise click.UsageError("--json: got no --out, expected one; the export itself is printed")
    content = export_named(name).render(read_run(bundle))
    if out is None:
        click.echo(content, nl=False)
        return
    _write(out, content)
    digest = digest_of(content)
    if as_json:
        told = {"format": name, "path": str(out), "size": len(content), "digest": digest}
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo(f"{out}: {name}, {len(content)} bytes, {digest}")


def _write(path: Path, content: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise NotWritableError(
            f"{path}: --out: got {error.strerror}, expected a new file in a folder that can be "
            "written; name another"
        ) from error
