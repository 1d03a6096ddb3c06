"""The log probe: reads the output of a process line by line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateproof.probes.recorder import Recorder
from gateproof_evidence.model import Redaction


@dataclass
class LogFilter:
    """Changes the lines of a worker's log before they are read; without a rule, none."""

    rule: Callable[[list[str]], list[str]] | None = None
    """Returns the changed lines of a log so far; equal lines must give equal results."""
    changed: int = 0
    """How many lines of the log that was read last differ from the worker's own."""

    def apply(self, output: str) -> str:
        """Return the output of a process with its complete lines changed."""
        if self.rule is None:
            return output
        complete, _, rest = output.rpartition("\n")
        if not complete:
            return output
        before = complete.split("\n")
        after = self.rule(before)
        self.changed = sum((Counter(before) - Counter(after)).values())
        self.changed += sum((Counter(after) - Counter(before)).values())
        return "\n".join([*after, rest])


@dataclass(frozen=True, kw_only=True)
class LogLines:
    """The lines of one process, read at one moment."""

    lines: tuple[str, ...]
    redactions: tuple[Redaction, ...]
    """The redactions in the capture: secrets that the process printed."""

    def entries(self) -> list[dict[str, Any]]:
        """Return the lines that are JSON objects, parsed."""
        parsed = (parse_entry(line) for line in self.lines)
        return [entry for entry in parsed if entry is not None]

    def plain(self) -> list[str]:
        """Return the lines that are not JSON objects."""
        return [line for line in self.lines if parse_entry(line) is None]

    def matching(self, **fields: Any) -> list[dict[str, Any]]:
        """Return the entries in which all these fields have these values."""
        return [
            entry
            for entry in self.entries()
            if all(entry.get(name) == value for name, value in fields.items())
        ]


def parse_entry(line: str) -> dict[str, Any] | None:
    """Return the JSON object of a line, or None if it is not one."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def read_log(recorder: Recorder, name: str, output: str, *, changed: int = 0) -> LogLines:
    """Record the output of a process so far, and return its lines.

    Args:
        recorder: records the lines.
        name: the name of the process.
        output: its output.
        changed: how many of the lines a fault has changed.

    """
    lines = tuple(line for line in output.split("\n") if line.strip())
    observation = recorder.observe(
        "logs",
        f"log of {name}: {len(lines)} lines",
        data={"process": name, "count": len(lines), **({"changed": changed} if changed else {})},
        text=output,
    )
    return LogLines(lines=lines, redactions=observation.redactions)
