"""What `gateproof verify` asks and tells about sign-offs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from evidence.commands.common import PATH, read_file
from evidence.errors import BadInputError
from evidence.reviewers import Policy, Review
from evidence.signoff import Statement


def review_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options about sign-offs, and hand them to it as one `policy`."""

    @click.option(
        "--require-signoffs",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="How many different persons must have signed off.",
    )
    @click.option("--allowed-signers", type=PATH, help="Who may sign off: see ssh-keygen(1).")
    @click.option("--revoked", type=PATH, help="Keys that no longer count: a KRL, or public keys.")
    @click.option("--phase", help="The phase that must be signed off; the whole run if left out.")
    @functools.wraps(command)
    def asked(
        *args: Any,
        bundle: Path,
        require_signoffs: int,
        allowed_signers: Path | None,
        revoked: Path | None,
        phase: str | None,
        **others: Any,
    ) -> Any:
        policy = Policy(
            required=require_signoffs,
            allowed_signers=_outside(allowed_signers, bundle, "allowed signers"),
            revoked=_outside(revoked, bundle, "revocation list"),
            phase=phase,
        )
        return command(*args, bundle=bundle, policy=policy, **others)

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


def _outside(path: Path | None, bundle: Path, what: str) -> bytes | None:
    """Read a file that says whom to trust: never one that the bundle brings itself."""
    if path is None:
        return None
    if path.resolve().is_relative_to(bundle.resolve()):
        raise BadInputError(
            f"{path}: {what}: got a file inside the bundle, expected one from outside; a bundle "
            "cannot say whom to trust"
        )
    return read_file(path, what)
