"""Options and output of `gateproof verify` for sign-offs and timestamps."""

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
    """Add the options for sign-offs and timestamps, passed on as `policy` and `timestamp_ca`."""

    @click.option(
        "--require-signoffs",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="The number of different persons who must have signed off.",
    )
    @click.option(
        "--allowed-signers", type=PATH, help="The persons who may sign off: see ssh-keygen(1)."
    )
    @click.option("--revoked", type=PATH, help="Revoked keys: a KRL, or public keys.")
    @click.option("--phase", help="The phase to ask about; by default the whole run.")
    @click.option(
        "--timestamp-ca", type=PATH, help="Certificates (PEM) of a required timestamp authority."
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
    """Print a line for each sign-off without findings, and the number of persons."""
    for one in review.signoffs:
        line = signoff_line(one.statement)
        click.echo(f"signed off: {line}, key {one.signature.keyid}")
    if review.signoffs and review.persons is None:
        click.echo("signers unknown: name the persons who may sign with --allowed-signers")
    if review.persons is not None:
        what = f"phase {policy.phase}" if policy.phase else "the whole run"
        many = "person" if review.persons == 1 else "persons"
        click.echo(f"{what}: signed off by {review.persons} {many}")


def print_stamps(stamped: Stamped) -> None:
    """Print a line for each timestamp without findings."""
    trust = "" if stamped.is_trusted else "; authority unknown: name it with --timestamp-ca"
    for one in stamped.timestamps:
        click.echo(f"stamped at {one.at}{trust}")


def signoff_line(statement: Statement) -> str:
    """Return a sign-off as one line."""
    left = f"; with reservations: {statement.reservations}" if statement.reservations else ""
    return f"{statement.subject} ({statement.result}) by {statement.signer} at {statement.at}{left}"


def review_json(review: Review) -> dict[str, Any]:
    """Return the review as JSON values."""
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
    """Return the timestamps as JSON values."""
    times = [{"path": one.path, "at": one.at.isoformat()} for one in stamped.timestamps]
    return {"trusted": stamped.is_trusted, "timestamps": times}


def _outside(path: Path | None, bundle: Path, what: str) -> bytes | None:
    """Read a file that decides who is trusted; refuse one that lies inside the bundle."""
    return None if path is None else read_outside(path, bundle, what)
