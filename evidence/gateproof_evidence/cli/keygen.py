"""`gateproof keygen`: make a signing key and its public key."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateproof_evidence.cli.common import PATH
from gateproof_evidence.sealing.run_key import generate


@click.command()
@click.argument("path", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def keygen(path: Path, *, as_json: bool) -> None:
    """Make a signing key for runs at PATH, and its public key at PATH.pub.pem.

    Reviewers sign with their own SSH keys: ssh-keygen -t ed25519.
    """
    key = generate(path)
    if as_json:
        made = {"private": str(path), "public": f"{path}.pub.pem", "keyid": key.keyid}
        click.echo(json.dumps(made, indent=2))
        return
    click.echo(f"{path}: private key, readable only by you: --signing-key {path}")
    click.echo(f"{path}.pub.pem: public key, for verifiers; key id {key.keyid}")
