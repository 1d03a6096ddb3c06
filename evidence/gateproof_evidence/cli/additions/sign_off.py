"""`gateproof sign-off`: a reviewer's signature over a sealed bundle."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import click

from gateproof_evidence.additions.countersignature import Draft, Reviewer, draft, sign
from gateproof_evidence.additions.sign_off import Statement
from gateproof_evidence.cli.common import PATH, read_outside
from gateproof_evidence.cli.status import WHOLE
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format import public_key as publickey
from gateproof_evidence.format.layout import REPORT
from gateproof_evidence.judging.phase import find_phase
from gateproof_evidence.model import Falsification, Outcome, Verdict
from gateproof_evidence.model.text import moment, printable
from gateproof_evidence.reports.gate_summary import ORDER, WORDS

DECLINED = 1
"""The exit status of a reviewer who answers no."""

_FEW = 5
"""The most open points that are shown; gateproof show has all of them."""

_NO_RUN_KEY = (
    "warning: no --run-key: it is not checked who sealed this bundle. Anyone can alter a bundle "
    "and seal it again with a key of their own; name the run's public key from outside the bundle"
)


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
@click.option("--dry-run", is_flag=True, help="Print what would be signed, and sign nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before signing; only a terminal is asked.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; nothing is asked.")
@click.pass_context
def sign_off(
    ctx: click.Context,
    bundle: Path,
    *,
    key: Path,
    identity: str | None,
    phase: str | None,
    reservations: str | None,
    run_key: Path | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Sign off BUNDLE, after reading its report: the whole run, or one phase.

    A bundle that does not verify is refused. One that is not released needs reservations. What is
    signed is printed first; a terminal is then asked, and a script is not.

    Exit status: 0 signed (or --dry-run), 1 answered no, 4 bad input.
    """
    made = draft(
        bundle,
        Reviewer(signer=identity or _identity(), key=key.expanduser()),
        phase=phase,
        reservations=reservations,
        run_key=_run_key(run_key, bundle) if run_key else None,
        clock=lambda: dt.datetime.now(dt.UTC),
    )
    preview = _preview(made, run_key)
    if not as_json:
        for label, text in preview.items():
            click.echo(f"{label:<13}{printable(text)}")
    if run_key is None:
        click.echo(_NO_RUN_KEY, err=True)
    path = None
    if not dry_run:
        if not (yes or as_json) and not _is_confirmed():
            click.echo("nothing was signed", err=True)
            ctx.exit(DECLINED)
        click.echo(f"{made.key}: signing; ssh-keygen may ask for the passphrase of it", err=True)
        path = sign(made)
    if as_json:
        statement = made.statement.model_dump(mode="json", by_alias=True)
        output = {"path": path, "preview": preview, "statement": statement}
        click.echo(json.dumps(output, indent=2))
    elif path is None:
        click.echo("dry run: nothing was signed")
    else:
        _print_signed(made.bundle.place(path), made.statement)
    ctx.exit(WHOLE)


def _run_key(path: Path, bundle: Path) -> bytes:
    """Read the run's public key; its errors name this option, and not that of verification."""
    content = read_outside(path, bundle, "public key")
    publickey.load_public_key(content, name=f"--run-key {path}")
    return content


def _is_confirmed() -> bool:
    """Ask a person at a terminal; a script has decided already."""
    return not sys.stdin.isatty() or click.confirm("Sign this off?", default=False)


def _preview(made: Draft, run_key: Path | None) -> Mapping[str, str]:
    """Return what will be signed, by label."""
    statement, predicate = made.statement, made.verified.predicate
    assert predicate is not None  # a draft is made of a bundle that verifies
    checked = "the key that --run-key names" if run_key else "not checked: no --run-key"
    changes = {None: "changes unknown", True: "with uncommitted changes", False: "clean"}
    shown = made.verified.report if not made.verified.report_verified else "compared with its data"
    return {
        "bundle": f"{made.bundle.path}, sealed {moment(predicate.sealed)}",
        "sealed by": f"{predicate.key.keyid} ({checked})",
        "signs off": f"{f'phase {statement.phase}' if statement.phase else 'the whole run'}: "
        f"{statement.result}",
        "criteria": _counts(_verdicts(made)),
        "open": "; ".join(_reasons(made)[:_FEW]) or "nothing",
        "commit": f"{predicate.commit or 'unknown'}, {changes[predicate.dirty]}",
        "judged by": "; ".join(
            f"{one.part} {one.path} {one.digest}, {one.changes()}" for one in predicate.bound
        )
        or "not recorded",
        "attestation": statement.attestation,
        "report": f"{REPORT} {statement.report}: {shown}",
        "signed as": f"{statement.signer}, key {made.fingerprint or 'unknown'} ({made.key})",
        "reservations": statement.reservations or "none",
    }


def _reasons(made: Draft) -> tuple[str, ...]:
    phase = made.statement.phase
    return made.run.reasons if phase is None else find_phase(made.run, phase).reasons


def _verdicts(made: Draft) -> tuple[Verdict, ...]:
    phase = made.statement.phase
    if phase is None:
        return made.run.criteria
    ids = set(find_phase(made.run, phase).criteria)
    return tuple(verdict for verdict in made.run.criteria if verdict.id in ids)


def _counts(verdicts: tuple[Verdict, ...]) -> str:
    """Return the number of criteria by outcome, and how many passes are proven."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    proven = sum(
        one.outcome is Outcome.PASS and one.falsification is Falsification.PROVEN
        for one in verdicts
    )
    waived = sum(one.waiver is not None for one in verdicts)
    words = [f"{counts[one]} {WORDS[one]}" for one in ORDER if counts[one]]
    return f"{len(verdicts)}: {', '.join(words)}; {proven} proven, {waived} with a waiver"


def _print_signed(path: Path, statement: Statement) -> None:
    click.echo(f"{path}: {statement.subject}, {statement.result}, as {statement.signer}")
    if statement.reservations:
        click.echo(f"with reservations: {statement.reservations}")


def _identity() -> str:
    """Return git's address for signing commits: both lists of signers are often one file."""
    try:
        command = ("git", "config", "user.email")
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        done = None
    name = done.stdout.decode("utf-8", "backslashreplace").strip() if done else ""
    if not name:
        raise BadInputError(
            "--identity: got none, and git has no user.email; name yourself as in the list of "
            "allowed signers"
        )
    return name
