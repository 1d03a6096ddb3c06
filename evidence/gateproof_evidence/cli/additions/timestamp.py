"""`gateproof timestamp`: have an authority confirm when a bundle existed."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import click

from gateproof_evidence.additions.timestamp_request import stamp
from gateproof_evidence.cli.common import PATH, read_outside
from gateproof_evidence.format.archive.opening import open_source


@click.command()
@click.argument("bundle", type=PATH)
@click.option(
    "--timestamp-url", required=True, help="The URL of the authority (RFC 3161 over HTTP)."
)
@click.option(
    "--timestamp-ca", type=PATH, help="The authority's certificates, to check the answer at once."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def timestamp(
    bundle: Path, *, timestamp_url: str, timestamp_ca: Path | None, as_json: bool
) -> None:
    """Have an authority stamp BUNDLE: a proof that its attestation existed at that time."""
    source = open_source(bundle)
    made = stamp(
        source,
        timestamp_url,
        authority=read_outside(timestamp_ca, bundle, "certificates") if timestamp_ca else None,
        clock=lambda: dt.datetime.now(dt.UTC),
    )
    if as_json:
        output = {"path": made.path, "at": made.at.isoformat(), "attestation": made.imprint}
        click.echo(json.dumps(output, indent=2))
        return
    checked = "" if timestamp_ca else "; not checked: name the authority with --timestamp-ca"
    click.echo(f"{source.place(made.path)}: stamped at {made.at}{checked}")
