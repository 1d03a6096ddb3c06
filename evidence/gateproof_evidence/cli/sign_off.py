"""`gateproof sign-off`: a reviewer's signature over a sealed bundle."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from pathlib import Path

import click

from gateproof_evidence.additions.countersignature import Reviewer, countersign
from gateproof_evidence.cli.common import PATH, read_outside
from gateproof_evidence.errors import BadInputError


@click.command("sign-off")
@click.argument("bundle", type=PATH)
@click.option("--key", type=PATH, required=True, help="Your SSH key, e.g. ~/.ssh/id_ed25519.")
@click.option(
    "--identity", help="Your name among the allowed signers; by default git's user.email."
)
@click.option("--phase", help="The phase that you sign off; by default the whole run.")
@click.option(
    "--with-reservations",
    "reservations",
    metavar="WHY",
    help="Why you sign although something is open.",
)
@click.option("--run-key", type=PATH, help="The run's public key, from outside the bundle.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def sign_off(
    bundle: Path,
    *,
    key: Path,
    identity: str | None,
    phase: str | None,
    reservations: str | None,
    run_key: Path | None,
    as_json: bool,
) -> None:
    """Sign off BUNDLE, after reading its report: the whole run, or one phase.

    A bundle that does not verify is refused. One that is not released needs reservations.
    """
    statement, path = countersign(
        bundle,
        Reviewer(signer=identity or _identity(), key=key.expanduser()),
        phase=phase,
        reservations=reservations,
        run_key=read_outside(run_key, bundle, "public key") if run_key else None,
        clock=lambda: dt.datetime.now(dt.UTC),
    )
    if as_json:
        output = {"path": path, "statement": statement.model_dump(mode="json", by_alias=True)}
        click.echo(json.dumps(output, indent=2))
        return
    click.echo(f"{bundle}/{path}: {statement.subject}, {statement.result}, as {statement.signer}")
    if statement.reservations:
        click.echo(f"with reservations: {statement.reservations}")


def _identity() -> str:
    """Return git's address for signing commits: both lists of signers are often one file."""
    try:
        command = ("git", "config", "user.email")
        done = subprocess.run(command, capture_output=True, check=False, text=True)
    except OSError:
        done = None
    name = done.stdout.strip() if done else ""
    if not name:
        raise BadInputError(
            "--identity: got none, and git has no user.email; name yourself as in the list of "
            "allowed signers"
        )
    return name
