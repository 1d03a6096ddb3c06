"""`gateproof attach`: put sign-offs and timestamps into a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateproof_evidence.additions.attachment import attach as attach_files
from gateproof_evidence.cli.common import PATH


@click.command()
@click.argument("bundle", type=PATH)
@click.argument("files", type=PATH, nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def attach(bundle: Path, files: tuple[Path, ...], *, as_json: bool) -> None:
    """Put sign-offs and timestamps into BUNDLE, a folder or a ZIP archive.

    Each FILE has the name that gateproof sign-off or gateproof timestamp gave it. BUNDLE must
    verify with all of them: a file that is not valid, or is about another bundle, is refused, and
    nothing is written. A ZIP archive is written again with the files in it.

    Exit status: 0 attached, 4 bad input.
    """
    paths = attach_files(bundle, files)
    if as_json:
        click.echo(json.dumps({"bundle": str(bundle), "attached": list(paths)}, indent=2))
        return
    for path in paths:
        click.echo(f"{bundle}: attached {path}")
