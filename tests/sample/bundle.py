"""Judging and sealing of a recorded sample run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.judging.judgement import Context, derive_run
from gateproof_evidence.model import (
    Bindings,
    Bound,
    Criterion,
    EnvironmentReport,
    PhaseEvent,
    Record,
    Run,
    Timing,
    Waiver,
)
from gateproof_evidence.reports.renderer import renderer_digest
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.seal import seal
from gateproof_evidence.sealing.staged_journal import read_staged_journal
from tests.sample.plan import Plan, criteria_of_gates
from tests.sample.recording import START, record

COMMIT = "c" * 40
BOUND = Bindings(
    commit=COMMIT,
    tree="d" * 40,
    dirty=False,
    sut=digest_of(b"sut"),
    system=digest_of(b"system"),
    bound=(
        Bound(
            part="checks",
            path="gates",
            digest=digest_of(b"checks"),
            files=12,
            commit=COMMIT,
            dirty=False,
        ),
    ),
    versions={"celery": "5.7.0", "psycopg": "3.2"},
    nonce=digest_of(b"nonce")[7:39],
    renderer=renderer_digest(),
)
TIMING = Timing(start_up_s=1.5, checks_s=12.0, proofs_s=6.5)


def fixed_key(number: int = 1) -> RunKey:
    """Return the same key for the same number; it is worth nothing outside these tests."""
    private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    return RunKey(is_ephemeral=False, _private=private)


def make_bundle(
    destination: Path,
    plan: Plan,
    *,
    criteria: Sequence[Criterion] | None = None,
    key: RunKey | None = None,
) -> Path:
    """Record the run of a plan, judge it, and seal it.

    Args:
        destination: the bundle; its parent exists.
        plan: the outcome of each criterion.
        criteria: the catalogue; by default that of this repository.
        key: signs; by default a new one.

    """
    catalogue = Catalogue(criteria=tuple(criteria or criteria_of_gates()))
    staging = destination.parent / f".{destination.name}"
    ended = record(staging, plan, catalogue.criteria)
    return seal_staging(
        staging,
        destination,
        catalogue=catalogue,
        waivers=plan.waivers,
        key=key or RunKey.ephemeral(),
        at=ended + timedelta(seconds=2),
        timing=_timing(read_staged_journal(staging).records),
    )


def seal_staging(
    staging: Path,
    destination: Path,
    *,
    catalogue: Catalogue,
    waivers: Sequence[Waiver],
    key: RunKey,
    at: datetime,
    timing: Timing,
    bindings: Bindings = BOUND,
) -> Path:
    """Seal a folder that `record` filled."""
    return seal(
        staging,
        destination,
        journal=read_staged_journal(staging),
        catalogue=catalogue,
        waivers=waivers,
        context=context_of(bindings, timing),
        key=key,
        clock=lambda: at,
    ).bundle


def judge_staging(
    root: Path, catalogue: Catalogue, waivers: Sequence[Waiver], timing: Timing
) -> Run:
    """Return the run of a staging folder, as sealing derives it."""
    records = read_staged_journal(root).records
    return derive_run(catalogue, records, waivers, context_of(BOUND, timing))


def context_of(bindings: Bindings, timing: Timing) -> Context:
    """Return the context of a run in an embedded environment."""
    return Context(
        started=START,
        environment=EnvironmentReport(
            kind="embedded",
            reason="no Docker engine answers",
            postgres="18.4",
            python="3.11.7",
            platform="Linux x86_64",
        ),
        bindings=bindings,
        timing=timing,
    )


def _timing(records: Sequence[Record]) -> Timing:
    stages = [one for one in records if isinstance(one, PhaseEvent)]
    checks = sum(one.duration_s for one in stages if one.part == "check")
    proofs = sum(one.duration_s for one in stages) - checks
    return Timing(start_up_s=2.0, checks_s=round(checks, 3), proofs_s=round(proofs, 3))
