"""`gateproof keygen`: a signing key, and its public half."""

from __future__ import annotations

from pathlib import Path

import click

from evidence.commands.common import PATH
from evidence.signing import generate


@click.command()
@click.argument("path", type=PATH)
def keygen(path: Path) -> None:
    """Make a signing key at PATH, and its public half at PATH.pub.pem."""
    key = generate(path)
    click.echo(f"{path}: private key, readable by you alone: --signing-key {path}")
    click.echo(f"{path}.pub.pem: public key, for those who verify; key id {key.keyid}")
