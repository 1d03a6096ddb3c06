"""Progress of the proofs: the count, the last proof, and the estimated time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

EVERY_S = 15.0
"""The minimum time between two lines, in seconds."""

MARKS = ("[proof-", "[cell-")


def is_proof(nodeid: str) -> bool:
    """Return whether a node id is that of a proof or of a cell of the kill matrix."""
    return any(mark in nodeid for mark in MARKS)


@dataclass(eq=False)  # pytest keeps plugins in sets, so compare by identity
class Progress:
    """Counts the proofs of a run from their reports, also those of xdist workers."""

    print_line: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    total: int = 0
    done: int = 0
    _began: float | None = None
    _printed: float = 0.0
    _counted: set[str] = field(default_factory=set)

    def expect(self, nodeids: Iterable[str]) -> None:
        """Set the number of proofs from the node ids of all items."""
        self.total = sum(map(is_proof, nodeids))

    def end(self, nodeid: str) -> None:
        """Count a finished proof, and print a line if it is time for one."""
        if not is_proof(nodeid) or nodeid in self._counted:
            return
        self._counted.add(nodeid)
        self.done += 1
        now = self.clock()
        if self._began is None:
            self._began = self._printed = now
        elif now - self._printed >= EVERY_S and self.done < self.total:
            self._printed = now
            self.print_line(self.line(nodeid, now))

    def line(self, nodeid: str, now: float) -> str:
        """Return the line: the count, the last proof, and the time left at the pace so far."""
        assert self._began is not None
        # The clock starts when the first proof ends.
        left_s = (now - self._began) / max(self.done - 1, 1) * (self.total - self.done)
        last = nodeid.rpartition("::")[2]
        return f"{self.done} of {self.total} proofs, last {last}; about {_duration(left_s)} left"

    # --- hooks of pytest ---------------------------------------------------------------------

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the proofs of this process."""
        if session.items:
            self.expect(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:  # noqa: ARG002 (pluggy passes by name)
        """Count the proofs that an xdist worker collected: each worker collects all."""
        self.expect(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a proof when its call has ended or its set-up has failed."""
        if report.when == "call" or report.failed:
            self.end(report.nodeid)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min"
