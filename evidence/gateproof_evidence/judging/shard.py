"""A merged run: what follows for the whole run from the runs of its shards.

Owns the end, the start, the environment and the bindings of a merged run. Sealing a merge and
verifying one derive them here. Leaves verdicts and roll-up to
`gateproof_evidence.judging.judgement`, which judges the union of the journals.

Source: docs/decisions/0034; docs/reference/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateproof_evidence.judging.judgement import Context, Ending
from gateproof_evidence.judging.result import PYTEST_OWN
from gateproof_evidence.model import (
    Bindings,
    Digest,
    EnvironmentReport,
    Merged,
    MergedShard,
    Timing,
)

NOTHING_COLLECTED = 5
"""pytest's status in a shard to which no check was assigned."""


def merge_endings(endings: Mapping[int, Ending], merged: Merged) -> Ending:
    """Return how a whole run ended.

    Args:
        endings: the end of each shard, by its number; all have the same extent of proofs and the
            same baseline.
        merged: the shards.

    """
    of = merged.of
    first = next(iter(endings.values()))
    overriding = [
        one.pytest_status
        for one in endings.values()
        if _status(one) in PYTEST_OWN and not one.stopped
    ]
    stopped = [f"shard {n} of {of}: {one.stopped}" for n, one in endings.items() if one.stopped]
    return Ending(
        pytest_status=max(overriding or map(_status, endings.values())),
        stopped="" if overriding else "; ".join(stopped),
        falsify=first.falsify,
        defects=tuple(
            f"shard {number} of {of}: {defect}"
            for number, one in endings.items()
            for defect in one.defects
        ),
        baseline=first.baseline,
        merged=merged,
    )


def _status(ending: Ending) -> int:
    return 0 if ending.pytest_status == NOTHING_COLLECTED else ending.pytest_status


def context_of_shard(one: MergedShard) -> Context:
    """Return the fields of a shard's own run that its journal does not contain."""
    return Context(
        started=one.started,
        environment=one.environment,
        bindings=one.bindings,
        timing=one.timing,
    )


def merge_contexts(merged: Merged, *, renderer: Digest | None) -> Context:
    """Return the fields of a merged run that its journal does not contain.

    Args:
        merged: the shards; their bindings differ in nothing that a verdict depends on.
        renderer: the digest of the renderer of the merged report.

    """
    shards = merged.shards
    return Context(
        started=min(one.started for one in shards),
        environment=_environment([one.environment for one in shards if one.environment]),
        bindings=_bindings([one.bindings for one in shards], renderer),
        timing=Timing(
            start_up_s=round(sum(one.timing.start_up_s for one in shards), 3),
            checks_s=round(sum(one.timing.checks_s for one in shards), 3),
            proofs_s=round(sum(one.timing.proofs_s for one in shards), 3),
        ),
    )


def _environment(found: list[EnvironmentReport]) -> EnvironmentReport | None:
    """Return one report for environments of one kind; what differs is listed."""
    if not found:
        return None
    return EnvironmentReport(
        kind=found[0].kind,
        reason=_distinct(one.reason for one in found),
        postgres=_distinct(one.postgres for one in found),
        python=_distinct(one.python for one in found),
        platform=_distinct(one.platform for one in found),
    )


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _bindings(found: list[Bindings], renderer: Digest | None) -> Bindings:
    """Return the bindings of all shards: each may have loaded other plugins and other code."""
    first = found[0]
    bound = dict.fromkeys(one for each in found for one in each.bound)
    images = {name: digest for each in found for name, digest in each.images.items()}
    previous = {each.previous for each in found}
    return first.model_copy(
        update={
            "bound": tuple(bound),
            "images": images,
            "previous": first.previous if len(previous) == 1 else None,
            "renderer": renderer,
        }
    )
