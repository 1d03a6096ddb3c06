"""The fault kind `logs`: a filter on the log of workers, as the harness reads it.

The filter is there in the baseline run too, and changes nothing. The evidence that the fault landed
is what the filter does to sample lines with the described fields; what it changed in a worker's log
is counted in the observation of each read.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gateproof.faults.interface import Fault
from gateproof.probes.log import LogFilter, parse_entry
from gateproof_evidence.errors import BadInputError

if TYPE_CHECKING:
    from gateproof.description.sut import Sut
    from gateproof.stack.copy import Copy

Act = Literal["drop", "duplicate", "break", "insert", "rename", "set", "copy", "shift"]

FIELDS = (
    *("timestamp", "level", "logger", "message", "task_name", "task_id", "tenant_id"),
    *("correlation_id", "error"),
)
MESSAGES = ("success", "failure", "retry")
"""Values of the field `message` that stand for the described texts."""
SAMPLE_TIME = "2026-01-01T00:00:00+00:00"


@dataclass(frozen=True, kw_only=True)
class Filter:
    """The rule of a fault, with the names and texts of one description filled in."""

    act: Act
    where: Mapping[str, Any]
    field: str
    value: Any
    text: str

    def __call__(self, lines: list[str]) -> list[str]:
        """Return the changed lines."""
        if self.act == "insert" and not self.where:
            return [self.text, *lines]
        found: list[str] = []
        inserted = False
        for line in lines:
            entry = parse_entry(line)
            matches = entry is not None and self._matches(entry)
            if self.act == "insert" and matches and not inserted:
                inserted = True
                found.append(self.text)
            found += self._changed(line, entry) if matches and entry is not None else [line]
        return found

    def _matches(self, entry: Mapping[str, Any]) -> bool:
        present = not self.field or self.field in entry
        return present and all(entry.get(name) == value for name, value in self.where.items())

    def _changed(self, line: str, entry: dict[str, Any]) -> list[str]:
        if self.act == "drop" and not self.field:
            return []
        if self.act == "duplicate":
            return [line, line]
        if self.act == "break":
            return [self.text or line[:-1]]
        return [line] if self.act == "insert" else [json.dumps(self._edited(entry))]

    def _edited(self, entry: dict[str, Any]) -> dict[str, Any]:
        new = dict(entry)
        old = new.pop(self.field, None)
        if self.act == "rename":
            new[str(self.value)] = old
        elif self.act == "set":
            new[self.field] = self.value
        elif self.act == "copy":
            new[self.field] = entry.get(str(self.value))
        elif self.act == "shift":
            moved = dt.datetime.fromisoformat(str(old)) + dt.timedelta(seconds=float(self.value))
            new[self.field] = moved.isoformat()
        return new


@dataclass(frozen=True, kw_only=True)
class LogFault(Fault):
    """A change to the lines that the harness reads."""

    kind = "logs"
    passage = "a filter on its logs"

    act: Act
    where: Mapping[str, Any]
    field: str = ""
    value: Any = None
    text: str = ""

    def describe(self) -> str:
        """Return the change, and which lines it is for."""
        parts = [f"{name}={value!r}" for name, value in self._settings() if value not in ("", None)]
        lines = " and ".join(f"{name} {value!r}" for name, value in self.where.items())
        return f"{self.act} in lines with {lines or 'anything'}: {', '.join(parts) or 'the line'}"

    def _settings(self) -> tuple[tuple[str, Any], ...]:
        return ("field", self.field), ("value", self.value), ("text", self.text)

    def prepare(self, copy: Copy) -> None:
        """Read the logs of workers that start later through a filter without a rule."""
        copy.stack.filter_logs(LogFilter())

    def change_inertly(self, copy: Copy) -> str:
        """Let the filter return each line as it is."""
        copy.stack.log_filter.rule = list
        return "the filter returns each line as it is"

    def fingerprint(self, copy: Copy) -> str:
        """Return what the filter does to sample lines with the described fields."""
        lines = sample_lines(copy.sut, self._filter(copy).where)
        filtered = copy.stack.log_filter
        rule = filtered.rule or list
        after = rule(lines)
        changed = sum(line not in lines for line in after) + abs(len(after) - len(lines))
        return f"of {len(lines)} sample lines, {changed} are changed, inserted or left out"

    def inject(self, copy: Copy) -> None:
        """Let the filter change lines from now on, also those that were written before."""
        copy.stack.log_filter.rule = self._filter(copy)

    def _filter(self, copy: Copy) -> Filter:
        dsn = copy.stack.inner_dsn(copy.sut.worker.role)
        return Filter(
            act=self.act,
            where={
                described(name, copy.sut): described_value(name, value, copy.sut)
                for name, value in self.where.items()
            },
            field=described(self.field, copy.sut),
            value=described(self.value, copy.sut) if self.act == "copy" else self.value,
            text=self.text.replace("{dsn}", dsn),
        )


def described(name: Any, sut: Sut) -> Any:
    """Return the described name of a field; a name that is none of them stays."""
    return getattr(sut.logs, name) if name in FIELDS else name


def described_value(name: str, value: Any, sut: Sut) -> Any:
    """Return the described text of a message: of a success, a failure, a retry or the report."""
    if name != "message":
        return value
    if value in MESSAGES:
        return getattr(sut.logs, value)
    return sut.worker.report.message if value == "report" else value


PLAIN_SAMPLES = ["a sample line", "another sample line"]
"""Sample lines of a system that describes no fields of its log lines."""


def sample_lines(sut: Sut, where: Mapping[str, Any]) -> list[str]:
    """Return a line for each described message, and one that a filter with conditions matches."""
    if not sut.describes("logs"):
        return PLAIN_SAMPLES
    known = [name for name in FIELDS if sut.describes(f"logs.{name}")]
    names: dict[str, Any] = {described(name, sut): "sample" for name in known}
    names[sut.logs.timestamp] = SAMPLE_TIME
    texts = [getattr(sut.logs, name) for name in MESSAGES if sut.describes(f"logs.{name}")]
    if sut.describes("worker.report"):
        report = sut.worker.report
        names |= dict.fromkeys((report.broker, report.result_backend, report.queues), "sample")
        names[report.eager] = True
        texts.append(report.message)
    entries = [{**names, sut.logs.message: text} for text in texts]
    return [json.dumps(one) for one in (*entries, {**names, **where})]


def logs(
    name: str,
    act: Act,
    *,
    where: Mapping[str, Any] | None = None,
    field: str = "",
    value: Any = None,
    text: str = "",
) -> LogFault:
    """Break a claim by what the log of a worker has.

    Names of fields are keys of the section [logs], or names of other fields; the values
    ``success``, ``failure``, ``retry`` and ``report`` of the field ``message`` stand for the
    described texts.

    Args:
        name: a slug.
        act: ``drop`` a line, or a field of it; ``duplicate`` a line; ``break`` its JSON; ``insert``
            a text before the first line; ``rename`` a field; ``set`` it; ``copy`` another field
            into it; ``shift`` its time by seconds.
        where: fields and values that a line must have; by default, every JSON line matches.
        field: the field that is changed.
        value: the new name or value, the other field, or the seconds.
        text: the inserted line, or the line in place of a broken one; ``{dsn}`` in it becomes the
            DSN of a worker.

    Raises:
        BadInputError: the act lacks its field, value or text.

    """
    needs_field = act in ("rename", "set", "copy", "shift")
    if (needs_field and (not field or value is None)) or (act == "insert" and not text):
        raise BadInputError(
            f"falsifier {name}: {act}: got {field=}, {value=}, {text=}, expected a field with a "
            "value, or the text that is inserted"
        )
    return LogFault(
        name=name, act=act, where=dict(where or {}), field=field, value=value, text=text
    )
