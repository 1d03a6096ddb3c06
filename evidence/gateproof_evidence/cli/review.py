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
    """Print a line for each sign-off without findings, and the number of persons.

    Without a list of allowed signers, a name is only a claim: anyone can sign under any name.
    """
    for one in review.signoffs:
        line, key = (
            signoff_line(one.statement, verified=review.is_checked),
            one.signature.key.fingerprint,
        )
        if review.is_checked:
            click.echo(f"signed off: {line}, key {key}")
        else:
            click.echo(f"unverified sign-off: {line}, key {key}: not compared with any list")
    if review.signoffs and not review.is_checked:
        click.echo("no sign-off is verified: name the persons who may sign with --allowed-signers")
    if review.persons is not None:
        what = f"phase {policy.phase}" if policy.phase else "the whole run"
        result = f" ({review.result})" if review.result else ""
        many = "person" if review.persons == 1 else "persons"
        click.echo(f"{what}{result}: signed off by {review.persons} {many}")


def print_stamps(stamped: Stamped) -> None:
    """Print a line for each timestamp without findings."""
    for one in stamped.timestamps:
        if stamped.is_trusted:
            click.echo(f"stamped at {one.at}")
        else:
            click.echo(
                f"unverified timestamp: states {one.at}, by an authority that was not checked; "
                "name it with --timestamp-ca"
            )


def signoff_line(statement: Statement, *, verified: bool) -> str:
    """Return a sign-off as one line."""
    who = "by" if verified else "claims to be by"
    left = f"; with reservations: {statement.reservations}" if statement.reservations else ""
    return (
        f"{statement.subject} ({statement.result}) {who} {statement.signer} at {statement.at}{left}"
    )


def review_json(review: Review) -> dict[str, Any]:
    """Return the review as JSON values; unverified sign-offs are in a list of their own."""
    shown = [
        {
            "path": one.path,
            "key": one.signature.keyid,
            "fingerprint": one.signature.key.fingerprint,
            **one.statement.model_dump(mode="json", by_alias=True),
        }
        for one in review.signoffs
    ]
    return {
        "persons": review.persons,
        "signoffs": shown if review.is_checked else [],
        "unverified_signoffs": [] if review.is_checked else shown,
    }


def stamps_json(stamped: Stamped) -> dict[str, Any]:
    """Return the timestamps as JSON values; unverified ones are in a list of their own."""
    times = [{"path": one.path, "at": one.at.isoformat()} for one in stamped.timestamps]
    return {
        "trusted": stamped.is_trusted,
        "timestamps": times if stamped.is_trusted else [],
        "unverified_timestamps": [] if stamped.is_trusted else times,
    }


def _outside(path: Path | None, bundle: Path, what: str) -> bytes | None:
    """Read a file that decides who is trusted; refuse one that lies inside the bundle."""
    return None if path is None else read_outside(path, bundle, what)
