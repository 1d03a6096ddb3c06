"""The task of a session of playback: the items of a recorded run, by their checks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TASK = "task.json"
PLAYED = "played.jsonl"
"""The journal of a playback: the statements of the checks, and how each check ended."""
RESULT = "result.json"
"""The reasons why items could not be played back, and the items that got redacted answers."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """The checks to play back."""

    items: Mapping[tuple[str, str], str]
    """Maps criterion and name of a check's function to its recorded item."""
    gates: Mapping[str, str]
    """Maps each criterion to its gate."""

    def write(self, path: Path) -> None:
        """Write it for the session."""
        items = [[*names, item] for names, item in self.items.items()]
        path.write_text(json.dumps({"items": items, "gates": dict(self.gates)}), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Task:
        """Read what `write` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        items = {(criterion, name): item for criterion, name, item in found["items"]}
        return cls(items=items, gates=found["gates"])
