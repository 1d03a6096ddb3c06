"""The baselines of checks: one for each check and kind of copy, which the proofs of a check share.

The first proof of a check on a kind of copy runs the check before its fault, and the later proofs
refer to its record. Before the last such run something is changed that does not matter, in the way
in which the fault makes its change: a check that fails then would also fail after a fault that its
claim has nothing to do with. Before its own fault, a later proof starts the processes that ran
after the first one's baseline.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateproof.faults.interface import Fault
from gateproof.stack.copy import Copy
from gateproof.stack.stack import Running
from gateproof_evidence.model import ProofEvent

FILES = {"system": "the system's files", "project": "the project's files", "harness": "the harness"}


@dataclass(frozen=True, kw_only=True)
class SharedBaseline:
    """The baseline of one check on one kind of copy."""

    story: ProofEvent
    """The record of the proof that ran it."""
    running: Running
    """The processes that ran after it."""


@dataclass
class Baselines:
    """The baselines that one process has run."""

    shared: bool = True
    """Whether proofs share them; otherwise each runs its own."""
    _found: dict[tuple[str, str], SharedBaseline] = field(default_factory=dict)

    def find(self, check: str, shape: str) -> SharedBaseline | None:
        """Return the baseline of a check on one kind of copy; None if it has not run yet."""
        return self._found.get((check, shape)) if self.shared else None

    def keep(self, check: str, story: ProofEvent, running: Running) -> None:
        """Keep the baseline of a proof, if it ran to its end, for the later proofs of its check."""
        if story.baseline_runs and not story.baseline_of:
            self._found[check, story.shape] = SharedBaseline(story=story, running=running)


def shape_of(fault: Fault, copy: Copy) -> str:
    """Return the kind of copy that a fault needs, in words: one baseline counts for each."""
    parts = [f"a copy of {FILES[fault.tree]}" if fault.tree else ""]
    if copy.needs_stack:
        parts += [
            "a database of its own" + (" on a server of its own" if copy.own_server else ""),
            "built again by the migrations" if fault.rebuilds else "",
            "a relay before the server" if fault.relayed else "",
            "processes that start cold" if fault.cold else "",
            fault.passage,
        ]
    return ", ".join(filter(None, parts)) or "nothing copied"
