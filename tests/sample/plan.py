"""Plans of sample runs: which criteria fail, which proofs are blind, how much is observed.

The plans here are for pages: each outcome on criteria of the real catalogue, two writers at the
same time, long and hostile captures, thousands of criteria.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from gateproof_evidence.format.recording.journal import shard_writer
from gateproof_evidence.model import Criterion, Shard, Waiver
from tests.criteria import catalogue
from tests.sample.capture import PROBES, Seen

MARKUP = "<img src=x onerror=alert(1)><script>alert(1)</script></pre></details>&amp;\"'--><b>bold"
"""Text that a page must show unchanged; it tries to close elements, attributes and comments."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The fault of a falsifier, and how its check fails under it."""

    name: str
    kind: str
    text: str
    expected: str
    failure: str


def _rows_fault(name: str, kind: str, text: str, expected: str) -> Fault:
    failure = f"app_user as tenant A sees in attribution_events: got {expected}, expected 3 of A"
    return Fault(name=name, kind=kind, text=text, expected=expected, failure=failure)


FAULTS = (
    _rows_fault(
        "drop-policy",
        "sql",
        "DROP POLICY tenant_isolation ON attribution_events",
        "0 of A and 0 of B",
    ),
    _rows_fault(
        "misspelt-guc",
        "migration",
        "--- core_0002_recompute_jobs.py\n+++ core_0002_recompute_jobs.py\n@@ -31,3 +31,3 @@\n"
        "-    current_setting('app.current_tenant_id', true)\n"
        "+    current_setting('app.tenant', true)",
        "0 of A and 0 of B",
    ),
    _rows_fault(
        "handler-skips-global",
        "source",
        "--- system/dead_letters.py\n+++ system/dead_letters.py\n@@ -88,2 +88,2 @@\n"
        "-    if row is not None:\n+    if row is not None and row.tenant_id:",
        "0 of A and 2 of B",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The outcome of each criterion of a run, and the amount of its observations."""

    writers: tuple[str, ...] = ("gw0", "gw1")
    bring_up: tuple[str, ...] = ("environment", "process")
    """Probes that observe before the first check."""
    failing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    """Criteria whose check raises an error in its set-up."""
    blind: tuple[str, ...] = ()
    void: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    """Criteria whose environment does not answer."""
    skipped: tuple[str, ...] = ()
    """Criteria that the environment cannot judge."""
    left_out: tuple[str, ...] = ()
    """Criteria that are not selected."""
    unending: tuple[str, ...] = ()
    """Criteria whose check never ends."""
    waivers: tuple[Waiver, ...] = ()
    matrix: tuple[str, ...] = ()
    """Gates whose checks are all run against all falsifiers."""
    taken_over: tuple[str, ...] = ()
    """Criteria whose proofs come from an earlier run."""
    faults: tuple[Fault, ...] = FAULTS
    unfalsified: tuple[str, ...] = ()
    """Criteria whose check names no falsifier."""
    lasts_s: float = 0.0
    """The shortest time from the start of the run to its end."""
    captures: Mapping[str, Seen] = field(default_factory=dict)
    """By criterion, the only observation of its check; other checks observe with each probe."""
    per_check: int = 4
    """Observations of a check."""
    per_proof_step: int = 3
    """Observations of each step of a proof."""
    log_lines: int = 45
    messages: Mapping[str, str] = field(default_factory=dict)
    """By criterion, the message of its failure; `message` for the others."""
    message: str = (
        "app_user as tenant A sees in attribution_events: got 3 of A and 2 of B, "
        "expected 3 of A and 0 of B"
    )
    text: Callable[[str], str] = lambda text: text
    """Changes the text of each summary and capture."""
    shard: Shard | None = None
    """The part of a run that it is; None for a whole run."""
    shares: Mapping[str, int] = field(default_factory=dict)
    """By criterion, the number of the shard that judges it, where there are shards."""

    @property
    def not_passing(self) -> tuple[str, ...]:
        """Criteria without a passing check, which have no proofs."""
        red = (*self.failing, *self.broken, *self.unreachable, *self.skipped)
        return (*red, *self.left_out, *self.of_others, *self.unending)

    @property
    def of_others(self) -> tuple[str, ...]:
        """Criteria that other shards judge."""
        number = self.shard.number if self.shard else None
        return tuple(name for name, own in self.shares.items() if own != number)

    def named(self, name: str) -> str:
        """Return the name of a writer, which in a shard is that of no other shard."""
        return shard_writer(self.shard.number, name) if self.shard else name


GREEN = Plan(matrix=("rls", "queues", "dlq"), taken_over=("IDM-01",))
RED = Plan(
    failing=("RLS-02", "DLQ-03", "OBS-07"),
    broken=("RUN-04",),
    unreachable=("BRK-02",),
    skipped=("RUN-06",),
    unending=("DLQ-07",),
    waivers=(
        Waiver(
            criterion="OBS-07",
            reason="Start-up lines of the monitoring extension are plain text until 4.2",
            owner="Ada Lovelace",
            expires="2026-04-01",
        ),
        Waiver(
            criterion="DLQ-03",
            reason="The handler drops kwargs of retried tasks; fixed with the next migration",
            owner="Grace Hopper",
            expires="2026-02-01",
        ),
    ),
    matrix=("rls",),
)
BLIND = Plan(blind=("RLS-03", "DLQ-11"), void=("RLS-04",))
HOSTILE = replace(
    RED,
    per_check=len(PROBES),
    text=lambda text: f"{MARKUP}\n{text}{MARKUP}\n",
    message=MARKUP,
)
"""A run in which all text that comes from the system is markup."""
MANY = Plan(per_check=2, per_proof_step=1, faults=FAULTS[:1], log_lines=5)
"""A run for a catalogue larger than that of any project; see `criteria_of`."""

FEW = (
    *("IMP-01", "BRK-02", "RUN-04", "RUN-06", "RLS-01", "RLS-02", "RLS-03", "RLS-04"),
    *("QUE-01", "DLQ-03", "DLQ-07", "DLQ-11", "IDM-01", "OBS-07"),
)
"""Criteria with which a page has one of everything and opens fast."""


def criteria_of_gates(*names: str) -> tuple[Criterion, ...]:
    """Return the criteria of this repository with these ids, or all of them."""
    every = catalogue().criteria
    return tuple(one for one in every if not names or one.id in names)


def criteria_of(count: int) -> tuple[Criterion, ...]:
    """Return as many generated criteria as the count, a hundred a gate."""
    return tuple(_criterion(number, count) for number in range(count))


def _criterion(number: int, count: int) -> Criterion:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    prefix = alphabet[number // 2600] + alphabet[number // 100 % 26]
    return Criterion(
        id=f"X{prefix}-{number % 100:02}",
        gate=f"gate{prefix.lower()}",
        phase="B0.5.1",
        statement=f"The claim number {number} of a catalogue of {count} holds for each tenant.",
        source="capacity: a catalogue larger than any that there is",
    )
