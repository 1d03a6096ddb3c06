"""The run as Markdown: the table of gates and the reasons for the result, for a job's summary.

Owns the Markdown. Leaves the counts to `gateproof_evidence.reports.gate_summary` and the text of
the reasons to `gateproof_evidence.reports.terminal`.

Source: GitHub Flavored Markdown, sections 2.4 (backslash escapes) and 4.10 (tables).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gateproof_evidence.model import Outcome, Run
from gateproof_evidence.model.text import one_line
from gateproof_evidence.reports.gate_summary import WORDS, GateRow, columns, gate_rows, total_row
from gateproof_evidence.reports.terminal import gate_lines, proof_times, shard_lines

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>|#~!&@]")
_NOTHING = "·"
SLOWEST = 10
"""The most proofs that the section of the slowest ones lists."""


def gap_page(run: Run) -> str:
    """Return the result, a row for each gate, and a line for each reason."""
    lines = [f"**{run.result.value}** (exit status {run.exit_status}), not verified", ""]
    lines += _table(run)
    reasons = [f"- {escape(line.plain)}" for line in gate_lines(run)]
    reasons += [f"- {escape(line)}" for line in shard_lines(run)]
    return "\n".join([*lines, *(["", *reasons] if reasons else []), ""])


def slowest_section(run: Run) -> str:
    """Return the slowest proofs that ran in a run, as a section; empty if none ran."""
    slowest = sorted(proof_times(run), reverse=True)[:SLOWEST]
    if not slowest:
        return ""
    rows = [_row([escape(name), f"{seconds:.1f}"]) for seconds, name in slowest]
    head = [_row(["slowest proofs", "seconds"]), _row([":--", "--:"])]
    return "\n".join(["", *head, *rows, ""])


def escape(text: str) -> str:
    """Return text that Markdown shows literally, on one line.

    A message may contain anything: markup from the system under test must not become markup here.
    """
    return _SPECIAL.sub(r"\\\g<0>", one_line(text))


def _table(run: Run) -> list[str]:
    shown = columns(run)
    counted = ["criteria", *(WORDS[outcome] for outcome in shown), "proven"]
    head = [_row(["gate", *counted, "verdict"]), _row([":--", *("--:" for _ in counted), ":--"])]
    rows = (*gate_rows(run), total_row(run))
    return [*head, *(_row(_cells(row, shown)) for row in rows)]


def _cells(row: GateRow, shown: Sequence[Outcome]) -> Iterable[str]:
    yield escape(row.gate)
    yield str(row.criteria)
    for outcome in shown:
        yield str(row.counts[outcome] or _NOTHING)
    yield f"{row.proven}/{row.declared}" if row.declared else "–"
    yield row.verdict + (f" ({row.waived} waived)" if row.waived else "")


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
