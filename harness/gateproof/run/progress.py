"""Progress while proofs run: how many of how many, the last one, and about how long still."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

EVERY_S = 15.0
"""How often a line is told at most."""

MARKS = ("[proof-", "[cell-")


def is_proof(nodeid: str) -> bool:
    """Tell whether a node id is that of a proof or of a cell of the kill matrix."""
    return any(mark in nodeid for mark in MARKS)


@dataclass(eq=False)  # a plugin is put into sets: one is itself alone
class Progress:
    """Counts the proofs of a run as their reports come in, in this process or from others."""

    tell: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    total: int = 0
    done: int = 0
    _began: float | None = None
    _told: float = 0.0
    _counted: set[str] = field(default_factory=set)

    def expect(self, nodeids: Iterable[str]) -> None:
        """Learn what there will be."""
        self.total = sum(map(is_proof, nodeids))

    def end(self, nodeid: str) -> None:
        """Count one that ended, and tell how far it is when it is time to."""
        if not is_proof(nodeid) or nodeid in self._counted:
            return
        self._counted.add(nodeid)
        self.done += 1
        now = self.clock()
        if self._began is None:
            self._began = self._told = now
        elif now - self._told >= EVERY_S and self.done < self.total:
            self._told = now
            self.tell(self.line(nodeid, now))

    def line(self, nodeid: str, now: float) -> str:
        """Return what is told: counted, the last one, and the time left at the pace so far."""
        assert self._began is not None
        # The first one ended when the clock was started.
        left_s = (now - self._began) / max(self.done - 1, 1) * (self.total - self.done)
        last = nodeid.rpartition("::")[2]
        return f"{self.done} of {self.total} proofs, last {last}; about {_words(left_s)} left"

    # --- pytest's hooks ----------------------------------------------------------------------

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Learn the items of this process."""
        if session.items:
            self.expect(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:  # noqa: ARG002 (pluggy passes by name)
        """Learn the items from an xdist worker: each has all."""
        self.expect(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a proof once its call has ended, or its set-up broke."""
        if report.when == "call" or report.failed:
            self.end(report.nodeid)


def _words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min"
