"""Sample runs: journals as a run leaves them, judged and sealed by the real code.

`recording` is the one builder. It records a run that a `plan` describes, with captures whose text
comes from `capture`; `bundle` judges and seals it, and `small` is one short run with one of
everything, for the tests that need a bundle and no particular one.

Only the observations are generated. Verdicts, proofs, matrix and roll-up are derived from the
journals, as in a run and in verification, so that no test relies on a result that no run can have.
Nothing depends on the clock or on chance: the same plan and the same key give the same bytes.
"""

from tests.sample.bundle import BOUND, COMMIT, TIMING, context_of, fixed_key, make_bundle
from tests.sample.recording import START
from tests.sample.small import (
    ENDED,
    SEALED,
    WAIVERS,
    judged,
    sample_catalogue,
    seal_small,
    sealed,
    stage,
)

__all__ = [
    "BOUND",
    "COMMIT",
    "ENDED",
    "SEALED",
    "START",
    "TIMING",
    "WAIVERS",
    "context_of",
    "fixed_key",
    "judged",
    "make_bundle",
    "sample_catalogue",
    "seal_small",
    "sealed",
    "stage",
]
