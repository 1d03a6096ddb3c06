"""What `gateproof verify` asks and tells about sign-offs and timestamps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateproof_evidence.additions.reviewer import Policy, Review
from gateproof_evidence.additions.sign_off import Statement
from gateproof_evidence.additions.timestamp import Stamped
from gateproof_evidence.cli.common import PATH, read_outside


def review_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options about what was added, as `policy` and `timestamp_ca`."""

    @click.option(
        "--require-signoffs",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="How many different persons must have signed off.",
    )
    @click.option("--allowed-signers", type=PATH, help="Who may sign off: see ssh-keygen(1).")
    @click.option("--revoked", type=PATH, help="Keys that no longer count: a KRL, or public keys.")
    @click.option("--phase", help="The phase that this is about; the whole run if left out.")
    @click.option(
        "--timestamp-ca", type=PATH, help="Whose timestamp there must be: certificates in PEM."
    )
    @functools.wraps(command)
    def asked(
        *args: Any,
        bundle: Path,
        require_signoffs: int,
        allowed_signers: Path | None,
        revoked: Path | None,
        phase: str | None,
        timestamp_ca: Path | None,
        **others: Any,
    ) -> Any:
        policy = Policy(
            required=require_signoffs,
            allowed_signers=_outside(allowed_signers, bundle, "allowed signers"),
            revoked=_outside(revoked, bundle, "revocation list"),
            phase=phase,
        )
        authority = _outside(timestamp_ca, bundle, "certificates")
        return command(*args, bundle=bundle, policy=policy, timestamp_ca=authority, **others)

    return asked


def print_review(review: Review, policy: Policy) -> None:
    """Print a line for each sign-off that nothing was found against, and the count."""
    for one in review.signoffs:
        line = signoff_line(one.statement)
        click.echo(f"signed off: {line}, key {one.signature.keyid}")
    if review.signoffs and review.persons is None:
        click.echo("signers unknown: name who may sign with --allowed-signers")
    if review.persons is not None:
        what = f"phase {policy.phase}" if policy.phase else "the whole run"
        many = "person" if review.persons == 1 else "persons"
        click.echo(f"{what}: signed off by {review.persons} {many}")


def print_stamps(stamped: Stamped) -> None:
    """Print a line for each timestamp that nothing was found against."""
    trust = "" if stamped.is_trusted else "; by whom is unknown: name whom with --timestamp-ca"
    for one in stamped.timestamps:
        click.echo(f"stamped at {one.at}{trust}")


def signoff_line(said: Statement) -> str:
    """Return what a sign-off says as one line."""
    left = f"; with reservations: {said.reservations}" if said.reservations else ""
    return f"{said.subject} ({said.result}) by {said.signer} at {said.at}{left}"


def review_json(review: Review) -> dict[str, Any]:
    """Return the same for machines."""
    return {
        "persons": review.persons,
        "signoffs": [
            {
                "path": one.path,
                "key": one.signature.keyid,
                **one.statement.model_dump(mode="json", by_alias=True),
            }
            for one in review.signoffs
        ],
    }


def stamps_json(stamped: Stamped) -> dict[str, Any]:
    """Return the timestamps for machines."""
    times = [{"path": one.path, "at": one.at.isoformat()} for one in stamped.timestamps]
    return {"trusted": stamped.is_trusted, "timestamps": times}


def _outside(path: Path | None, bundle: Path, what: str) -> bytes | None:
    """Read a file that says whom to trust: never one that the bundle brings itself."""
    return None if path is None else read_outside(path, bundle, what)
