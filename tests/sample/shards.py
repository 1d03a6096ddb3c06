"""The shards of one short run: three bundles, each with a part of the criteria of `small`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.model import Shard, Waiver
from gateproof_evidence.sealing.run_key import RunKey
from tests.sample.bundle import BOUND, TIMING, fixed_key, seal_staging
from tests.sample.plan import Plan
from tests.sample.recording import record
from tests.sample.small import RELEASED, SEALED, WAIVERS, sample_catalogue

SHARES = {"RLS-01": 1, "RLS-02": 2, "DLQ-01": 3, "DLQ-02": 1}
"""The shard of each criterion."""
OF = 3


def sealed_shard(
    folder: Path,
    number: int,
    *,
    plan: Plan = RELEASED,
    of: int = OF,
    nonce: str = BOUND.nonce,
    shares: Mapping[str, int] = SHARES,
    key: RunKey | None = None,
    at: datetime = SEALED,
    bindings: Mapping[str, Any] | None = None,
    catalogue: Catalogue | None = None,
    waivers: Sequence[Waiver] = WAIVERS,
) -> Path:
    """Make the sealed bundle of one shard under a folder.

    Args:
        folder: gets the bundle as ``shard-<number>``.
        number: the number of the shard.
        plan: the outcome of each criterion in the whole run.
        of: the number of shards.
        nonce: identifies the run.
        shares: the shard of each criterion.
        key: signs; by default the same for all.
        at: the time of sealing.
        bindings: fields of the bindings that differ from the usual ones.
        catalogue: by default that of the small run.
        waivers: those that are in force.

    """
    catalogue = catalogue or sample_catalogue()
    staging = folder / f".staging-{number}"
    shard = Shard(number=number, of=of, nonce=nonce)
    record(staging, replace(plan, shard=shard, shares=shares), catalogue.criteria)
    return seal_staging(
        staging,
        folder / f"shard-{number}",
        catalogue=catalogue,
        waivers=waivers,
        key=key or fixed_key(),
        at=at,
        timing=TIMING,
        bindings=BOUND.model_copy(update={"nonce": nonce, **(bindings or {})}),
    )


def sealed_shards(folder: Path, **fields: Any) -> list[Path]:
    """Make the sealed bundles of all shards under a folder; see `sealed_shard` for the fields."""
    return [sealed_shard(folder, number, **fields) for number in range(1, OF + 1)]
