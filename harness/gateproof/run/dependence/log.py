"""Records what items depend on, in the journal of a writer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateproof.run.dependence.source import EVERYTHING, Sources
from gateproof.stack.watched import Used
from gateproof_evidence.format.recording.journal import Journal
from gateproof_evidence.model import DependenceEvent, RunEvent


@dataclass
class DependenceLog:
    """Appends the records; each set of names, and each digest, is written once."""

    journal: Journal
    sources: Sources
    _sets: set[str] = field(default_factory=set)
    _digests: set[str] = field(default_factory=set)

    def record(
        self,
        used: Used,
        *,
        item: str,
        criterion: str,
        falsifier: str,
        frame: Mapping[str, str],
    ) -> None:
        """Record what an item depends on.

        Args:
            used: what it used of the system; with something unknown, it depends on all of it.
            item: its node id.
            criterion: the criterion that it judges.
            falsifier: the name of its falsifier; empty for a check.
            frame: what else it depends on, with a digest each.

        """
        units = used.units | ({EVERYTHING} if used.unknown else frozenset())
        self.journal.append(
            DependenceEvent,
            item=item,
            criterion=criterion,
            falsifier=falsifier,
            frame=dict(frame),
            uses=self._set(units),
            unknown=tuple(sorted(used.unknown)),
        )

    def _set(self, units: Iterable[str]) -> str:
        """Return the id of a set of units, which is recorded if it is new."""
        names = sorted(units)
        new = [name for name in names if name not in self._digests]
        if new:
            self._digests.update(new)
            digests = self.sources.digests(new)
            self.journal.append(RunEvent, event="sources", data={**digests})
        found = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
        if found not in self._sets:
            self._sets.add(found)
            self.journal.append(RunEvent, event="units", data={"id": found, "units": [*names]})
        return found
