"""The run in a terminal: a table of gates, and what stands in the way, line by line.

Owns the look. Leaves the arithmetic to `evidence.reports.gaps`. pytest's last lines and
``gateproof show`` are the same code.
"""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from evidence.model import Disposition, Outcome, Result, Run, Verdict
from evidence.reports.gaps import ORDER, WORDS, GateRow, gate_rows, open_verdicts, total_row

_STYLES = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.ERROR: "magenta",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.NOTAPPLICABLE: "dim",
    Outcome.NOTCHECKED: "yellow",
    Outcome.NOTSELECTED: "dim",
}
_RESULT_STYLES = {
    Result.RELEASED: "bold green",
    Result.PARTIAL: "bold yellow",
    Result.BLOCKED: "bold red",
}
_HEADINGS = {
    Outcome.INCONCLUSIVE: "incon-\nclusive",
    Outcome.NOTAPPLICABLE: "not ap-\nplicable",
    Outcome.NOTCHECKED: "not\nchecked",
    Outcome.NOTSELECTED: "not\nselected",
}


def gate_table(run: Run) -> Table:
    """Return a table with a row for each gate and a last one for the run."""
    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("gate", no_wrap=True)
    table.add_column("crit-\neria", justify="right")
    for outcome in ORDER:
        table.add_column(_HEADINGS.get(outcome, WORDS[outcome]), justify="right")
    table.add_column("proven", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    rows = gate_rows(run)
    for row in rows:
        table.add_row(*_cells(row), end_section=row is rows[-1])
    table.add_row(*_cells(total_row(run)), style="bold")
    return table


def gate_lines(run: Run) -> tuple[Text, ...]:
    """Return what stands in the way: open criteria with their reason, then the run's own reasons.

    A criterion that is released under a waiver is shown too.
    """
    lines = [_line(verdict) for verdict in open_verdicts(run) if _needs_line(verdict)]
    shown = tuple(f"{verdict.id} " for verdict in run.criteria)
    lines += [Text(reason) for reason in run.reasons if not reason.startswith(shown)]
    unproven = total_row(run).unproven
    if unproven:
        lines.append(Text(f"{unproven} passing criteria have no falsifier yet: unproven", "dim"))
    return tuple(lines)


def _needs_line(verdict: Verdict) -> bool:
    """Say whether a verdict gets a line of its own; passes without a falsifier are only counted."""
    return verdict.outcome is not Outcome.PASS or verdict.falsifiers > 0


def _cells(row: GateRow) -> list[Text]:
    counts = [_count(row.counts[outcome], _STYLES[outcome]) for outcome in ORDER]
    proofs = f"{row.proven}/{row.declared}" if row.declared else "–"
    result = Text(row.result.value, _RESULT_STYLES[row.result])
    if row.waived:
        result.append(f" ({row.waived} waived)", "yellow")
    return [Text(row.gate), Text(str(row.criteria)), *counts, Text(proofs), result]


def _count(count: int, style: str) -> Text:
    return Text(str(count), style) if count else Text("·", "dim")


def _line(verdict: Verdict) -> Text:
    line = Text(f"{verdict.id} ", "bold")
    line.append(WORDS[verdict.outcome], _STYLES[verdict.outcome])
    if verdict.cause:
        line.append(f" ({verdict.cause.value})")
    if verdict.outcome is Outcome.PASS:
        line.append(f", {verdict.falsification.value}", "bold yellow")
    line.append(f": {_reason(verdict)}")
    return line


def _reason(verdict: Verdict) -> str:
    if verdict.waiver is not None and verdict.disposition is not Disposition.NONE:
        waiver = verdict.waiver
        how = "waived" if verdict.disposition is Disposition.WAIVED else "waiver expired"
        return f"{verdict.message} [{how} by {waiver.owner} until {waiver.expires}]"
    if verdict.outcome is not Outcome.PASS:
        return verdict.message
    broken = [p for p in verdict.proofs if p.result is verdict.falsification]
    return "; ".join(f"{proof.falsifier}: {proof.message}" for proof in broken)
