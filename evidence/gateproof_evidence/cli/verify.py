"""`gateproof verify`: verify a bundle, and print the findings as text or JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from gateproof_evidence.additions.reviewer import Policy
from gateproof_evidence.cli.common import PATH, read_outside
from gateproof_evidence.cli.review import (
    print_review,
    print_stamps,
    review_json,
    review_options,
    stamps_json,
)
from gateproof_evidence.cli.status import FINDINGS, WHOLE
from gateproof_evidence.format.attestation import Predicate
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.layout import NOT_COMPARED, VERIFY_SCRIPT, VERIFY_TEXT
from gateproof_evidence.model import Bound
from gateproof_evidence.model.text import duration, many, moment, printable
from gateproof_evidence.sealing.bag import TEMPLATES
from gateproof_evidence.verification.bundle import UNKNOWN, Signature, Verification
from gateproof_evidence.verification.bundle import verify as verify_bundle
from gateproof_evidence.verification.expectation import (
    Expectation,
    parse_age,
    parse_commit,
    read_previous,
)
from gateproof_evidence.verification.rerendering import DISTRIBUTION, WORDED
from gateproof_evidence.verification.source import (
    read_expected_catalogue,
    read_expected_checks,
)


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--key", type=PATH, help="The signer's public key, from outside the bundle.")
@click.option(
    "--require-released", is_flag=True, help="Report a result other than released as a finding."
)
@click.option(
    "--expect-commit", metavar="ID", help="The full id of the commit that must have been judged."
)
@click.option("--require-clean", is_flag=True, help="Report uncommitted changes as a finding.")
@click.option(
    "--require-thorough",
    is_flag=True,
    help="Report a proof that shares the baseline of another one as a finding.",
)
@click.option(
    "--require-fresh",
    is_flag=True,
    help="Report a check or proof that was taken over from an earlier bundle as a finding.",
)
@click.option(
    "--max-takeover-age",
    metavar="AGE",
    help="The highest age of a check or proof that was taken over, such as 7d.",
)
@click.option("--max-age", metavar="AGE", help="The highest age since sealing, such as 7d or 12h.")
@click.option(
    "--previous", type=PATH, metavar="BUNDLE", help="The bundle that must be the one before this."
)
@click.option(
    "--expect-checks",
    multiple=True,
    metavar="PATH|DIGEST",
    help="A folder of checks that must have judged, from your own checkout, or a file of other "
    "code that you accept; repeat it for several.",
)
@click.option(
    "--expect-catalogue",
    multiple=True,
    metavar="FILE|DIGEST",
    help="The criteria that must have been expected, from your own checkout; repeat it for several "
    "files.",
)
@click.option(
    "--require-report",
    is_flag=True,
    help="Report a report that cannot be compared with its data as a finding.",
)
@review_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def verify(
    ctx: click.Context,
    bundle: Path,
    key: Path | None,
    *,
    require_released: bool,
    expect_commit: str | None,
    require_clean: bool,
    require_thorough: bool,
    require_fresh: bool,
    max_takeover_age: str | None,
    max_age: str | None,
    previous: Path | None,
    expect_checks: tuple[str, ...],
    expect_catalogue: tuple[str, ...],
    require_report: bool,
    policy: Policy,
    timestamp_ca: bytes | None,
    as_json: bool,
) -> None:
    """Verify BUNDLE: no file changed, added or removed since sealing, and a valid signature.

    BUNDLE is a folder or a ZIP archive, which is not unpacked.

    Exit status: 0 whole, 1 findings, 4 bad input.
    """
    content = read_outside(key, bundle, "public key") if key else None
    expect = Expectation(
        released=require_released and policy.phase is None,
        commit=None if expect_commit is None else parse_commit(expect_commit),
        clean=require_clean,
        thorough=require_thorough,
        fresh=require_fresh,
        max_takeover_age=None
        if max_takeover_age is None
        else parse_age(max_takeover_age, option="--max-takeover-age"),
        max_age=None if max_age is None else parse_age(max_age),
        previous=None if previous is None else read_previous(previous),
        checks=tuple(read_expected_checks(text) for text in expect_checks),
        catalogue=read_expected_catalogue(expect_catalogue) if expect_catalogue else None,
        report=require_report,
    )
    policy = replace(policy, released=require_released)
    found = verify_bundle(
        bundle, key=content, expect=expect, policy=policy, timestamp_ca=timestamp_ca
    )
    if as_json:
        click.echo(json.dumps(_verification_json(found), indent=2))
    else:
        _print_verification(bundle, found)
        _print_shards(found)
        _print_bound(found, expect)
        _print_not_compared(found)
        print_review(found.review, policy)
        print_stamps(found.stamped)
        click.echo(printable(found.report))
    ctx.exit(WHOLE if found.ok else FINDINGS)


def _print_verification(bundle: Path, found: Verification) -> None:
    for finding in found.findings:
        click.echo(str(finding))
    count = len(found.findings)
    verdict = "whole" if found.ok else f"{count} finding{'s' if count > 1 else ''}"
    click.echo(f"{bundle}: {verdict}")
    click.echo(_signer(found))
    if found.predicate:
        click.echo(_attested(found.predicate, is_known=found.signer != UNKNOWN))
    if found.made_by and any(one.code in WORDED for one in found.findings):
        click.echo(
            f"made by gateproof {found.made_by}, the signer states; another version words some "
            "verdicts and exports differently. The findings stand until that version verifies the "
            "bundle without them"
        )


def _print_shards(found: Verification) -> None:
    """Print the shards that a run was merged from, and by which key each was signed."""
    if found.merged is None:
        return
    count = len(found.merged.shards)
    click.echo(f"merged from {count} of {many(found.merged.of, 'shard')}, as the signer states:")
    for one in found.merged.shards:
        known = "a key given to the merge" if one.known else "its own key, so its signer is unknown"
        where = one.platform or "no environment started"
        took = duration(one.ended - one.started)
        click.echo(
            printable(
                f"  shard {one.number}: {where}, started {moment(one.started)}, took {took}; "
                f"signed by {one.signer}, {known}"
            )
        )
    for number in found.merged.missing:
        click.echo(f"  shard {number}: missing")


def _print_bound(found: Verification, expect: Expectation) -> None:
    """Print the files that the verdicts depend on, and which of them were compared."""
    predicate = found.predicate
    if predicate is None:
        return
    if not predicate.bound:
        click.echo("judged by: not recorded; gateproof before 0.3.0 recorded no checks")
        return
    click.echo("judged by, as the signer states (--json has all digests):")
    for one in predicate.bound:
        click.echo(f"  {_bound_line(one, predicate.commit)}")
    missing = [
        text
        for asked, text in (
            (expect.checks, "checks (--expect-checks DIR)"),
            (expect.catalogue, "catalogue (--expect-catalogue FILE)"),
        )
        if not asked
    ]
    if missing:
        click.echo(f"not compared with yours: {', '.join(missing)}")


def _print_not_compared(found: Verification) -> None:
    """Print the files that are signed, and whose content no step compared."""
    attested = {one.path: one.digest for one in found.predicate.files} if found.predicate else {}
    others = [path for path in NOT_COMPARED if path in attested]
    if others:
        click.echo(f"signed, but not checked: {', '.join(others)} (of pytest's plugins)")
    for name in (VERIFY_SCRIPT, VERIFY_TEXT):
        if name in attested and attested[name] != digest_of((TEMPLATES / name).read_bytes()):
            click.echo(
                f"{name} is not the one of gateproof {version(DISTRIBUTION)}: do not use it; take "
                "one from a release"
            )


def _bound_line(bound: Bound, commit: str | None) -> str:
    files = f"{bound.files} file{'' if bound.files == 1 else 's'}"
    digest = f", {bound.digest}" if bound.part == "checks" else ""
    origin = bound.origin(commit)
    return printable(f"{bound.part:<12} {bound.path}, {files}: {origin}, {bound.changes()}{digest}")


def _attested(predicate: Predicate, *, is_known: bool) -> str:
    """Return the attested result as one line."""
    claimed = "" if is_known else ", the unknown signer's claim"
    dirty = ", dirty" if predicate.dirty else ""
    criteria = many(len(predicate.criteria), "criterion", "criteria")
    commit = printable(predicate.commit or "unknown")
    return (
        f"attested{claimed}: {predicate.result} (exit status {predicate.exit_status}), {criteria}, "
        f"{many(len(predicate.files), 'file')}, commit {commit}{dirty}, "
        f"sealed {moment(predicate.sealed)}"
    )


_UNTRUSTED = {
    Signature.VALID: "the signature is valid, but the statement under it cannot be read",
    Signature.OTHER_KEY: "the bundle's own key signed, which is not the key that was given",
    Signature.INVALID: "the signature is not valid",
    Signature.NOT_CHECKED: "the signature was not checked; the findings give the reason",
}
"""Why there is no statement that can be trusted, by the result for its signature."""


def _signer(found: Verification) -> str:
    if found.predicate is None:
        return f"signer: {_UNTRUSTED[found.signature]}, so nothing here can be trusted"
    if found.signer == UNKNOWN:
        return "signer unknown: this shows integrity, not origin"
    return f"signed by {found.signer}, the key that was given"


def _verification_json(found: Verification) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "signer": found.signer,
        "signature": found.signature,
        "result": found.result,
        "review": review_json(found.review),
        "stamped": stamps_json(found.stamped),
        "report": found.report,
        "report_verified": found.report_verified,
        "made_by": found.made_by,
        "shards": _shards_json(found),
        "findings": [
            {"code": finding.code, "path": finding.path, "message": finding.message}
            for finding in found.findings
        ],
        "attested": found.predicate.model_dump(mode="json", exclude={"files"})
        if found.predicate
        else None,
    }


def _shards_json(found: Verification) -> dict[str, Any] | None:
    if found.merged is None:
        return None
    left_out = {"bindings", "timing", "environment"}
    return {
        "of": found.merged.of,
        "missing": found.merged.missing,
        "merged": [
            {**one.model_dump(mode="json", exclude=left_out), "platform": one.platform}
            for one in found.merged.shards
        ],
    }
