"""`gateproof render`: render the report of a bundle again, from its signed data."""

from __future__ import annotations

from pathlib import Path

import click

from gateproof_evidence.cli.common import (
    LATEST,
    PATH,
    read_attested,
    read_records,
    read_run,
    write_new,
)
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.reports.renderer import renderer_digest
from gateproof_evidence.verification.outside import is_inside
from gateproof_evidence.verification.rerendering import render_again


@click.command()
@click.argument("bundle", type=PATH, default=LATEST)
@click.option(
    "--out",
    type=PATH,
    metavar="FILE",
    help="A new file to write to; standard output by default.",
)
def render(bundle: Path, out: Path | None) -> None:
    """Render the report of BUNDLE (reports/latest) again. This does not verify the bundle.

    The bytes equal data/report.html if the same renderer made it; otherwise a line on standard
    error names the renderer that did.
    """
    if out is not None and is_inside(out, bundle):
        raise BadInputError(
            f"{out}: --out: got a file inside the bundle, expected one outside; nothing may be "
            "added to a sealed bundle"
        )
    source = open_source(bundle)
    run = read_run(source)
    content = render_again(source, run, read_records(source), read_attested(source))
    if run.bindings.renderer != renderer_digest():
        made = run.bindings.renderer or "a renderer that was not recorded"
        click.echo(f"another renderer made the bundle's own report: {made}", err=True)
    if out is None:
        click.echo(content, nl=False)
        return
    write_new(out, content)
    click.echo(f"{out}: {len(content)} bytes, renderer {renderer_digest()}")
