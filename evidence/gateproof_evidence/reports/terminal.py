"""The run in a terminal: a table of gates, and the reasons for the result, line by line.

Owns the layout. Leaves the counts to `gateproof_evidence.reports.gate_summary`. pytest's last
lines and the output of ``gateproof show`` come from the same code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from gateproof_evidence.judging.matrix import gate_matrices, matrix_line
from gateproof_evidence.model import (
    CellResult,
    Disposition,
    Extent,
    Falsification,
    Outcome,
    Result,
    Run,
    Verdict,
)
from gateproof_evidence.model.text import duration, many, moment, visible
from gateproof_evidence.reports.gate_summary import (
    WORDS,
    GateRow,
    columns,
    gate_rows,
    obstacles,
    open_verdicts,
    total_row,
)

STYLES = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.ERROR: "magenta",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.NOTAPPLICABLE: "dim",
    Outcome.NOTCHECKED: "yellow",
    Outcome.NOTSELECTED: "dim",
    Outcome.NOTDESCRIBED: "yellow",
}
_RESULT_STYLES = {
    Result.RELEASED: "bold green",
    Result.PARTIAL: "bold yellow",
    Result.BLOCKED: "bold red",
}
PROOF_STYLES = {
    Falsification.PROVEN: "green",
    Falsification.BLIND: "bold red",
    Falsification.VOID: "bold red",
    Falsification.UNPROVEN: "yellow",
}
MARKS: Mapping[CellResult, str] = {"killed": "●", "survived": "·", "broken": "e", "void": "?"}
"""Failed by an assertion, passed, failed by an error, and no fault on a passing copy."""

_RAN = (Outcome.PASS, Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE)
"""The outcomes of a check that ran, if it was not taken over."""

_LINE_LIMIT = 300
"""The most characters of a message that a line shows; the report has all of them."""

_HEADINGS = {
    Outcome.INCONCLUSIVE: "incon-\nclusive",
    Outcome.NOTAPPLICABLE: "not ap-\nplicable",
    Outcome.NOTCHECKED: "not\nchecked",
    Outcome.NOTSELECTED: "not\nselected",
    Outcome.NOTDESCRIBED: "not\ndescribed",
}


def gate_table(run: Run, *, total: bool = True) -> Table:
    """Return a table with a row for each gate, and a last one for the run unless `total` is off.

    Outcomes that did not occur, other than pass, fail and error, get no column.
    """
    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    rows = gate_rows(run)
    shown = columns(run)
    table.add_column("gate", no_wrap=True)
    table.add_column("criteria", justify="right", no_wrap=True)
    for outcome in shown:
        heading = _HEADINGS.get(outcome, WORDS[outcome])
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("proven", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row, shown), end_section=row is rows[-1])
    if total:
        table.add_row(*_cells(total_row(run), shown), style="bold")
    return table


def proof_table(run: Run) -> Table:
    """Return a table with a row for each falsifier: its change and its result."""
    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for heading in ("falsifier", "kind", "proof"):
        table.add_column(heading, no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    table.add_column("observed", overflow="fold")
    for verdict in run.criteria:
        for proof in verdict.proofs:
            name = Text(f"{verdict.id}:{proof.falsifier}")
            seen = Text(visible(proof.message.partition("\n")[0][:_LINE_LIMIT]))
            result = Text(proof.result.value, PROOF_STYLES[proof.result])
            took = Text(f"{proof.duration_s:.1f}" if proof.kind else "")
            table.add_row(name, Text(proof.kind), result, took, seen)
    return table


def takeover_lines(run: Run) -> Iterator[str]:
    """Yield how much was taken over from an earlier bundle, and what ran then; nothing if nothing.

    What was taken over is not listed: the report marks it.
    """
    checks = [one for one in run.criteria if one.taken_over]
    proofs = [(v.id, p) for v in run.criteria for p in v.proofs if p.kind]
    taken = [one for one in proofs if one[1].taken_over]
    if not checks and not taken:
        return
    digests = {one.taken_over for one in checks} | {proof.taken_over for _, proof in taken}
    bundles = ", ".join(sorted(filter(None, digests)))
    yield (
        f"taken over: {many(len(checks), 'check')} and {many(len(taken), 'proof')} from the bundle "
        f"with attestation {bundles}: nothing that they depend on has changed"
    )
    ran = [one.id for one in run.criteria if one.outcome in _RAN and not one.taken_over]
    repeated = Counter(name for name, proof in proofs if not proof.taken_over)
    parts = {
        name: ", ".join(
            filter(None, ("check" if name in ran else "", _proofs_in_words(repeated[name])))
        )
        for name in [*ran, *repeated]
    }
    listed = "; ".join(f"{name} ({part})" for name, part in parts.items())
    yield f"ran: {listed or 'nothing'}"


def _proofs_in_words(proofs: int) -> str:
    return many(proofs, "proof") if proofs else ""


def proof_line(run: Run) -> str:
    """Return the number of falsifiers, by kind."""
    kinds = Counter(proof.kind for verdict in run.criteria for proof in verdict.proofs)
    ran = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()) if kind)
    idle = f"{', ' if ran else ''}{kinds['']} did not run" if kinds[""] else ""
    taken = sum(bool(proof.taken_over) for verdict in run.criteria for proof in verdict.proofs)
    over = f"; {taken} taken over from an earlier bundle" if taken else ""
    return (
        f"{many(kinds.total(), 'falsifier')}: {ran}{idle}{over}{_times(run)}"
        if kinds
        else "no falsifier"
    )


def proof_times(run: Run) -> list[tuple[float, str]]:
    """Return the seconds and the name of each proof that ran in a run, in the catalogue's order."""
    return [
        (proof.duration_s, f"{verdict.id}:{proof.falsifier}")
        for verdict in run.criteria
        for proof in verdict.proofs
        if proof.kind and not proof.taken_over
    ]


def _times(run: Run) -> str:
    took = proof_times(run)
    if not took:
        return ""
    mean_s = sum(seconds for seconds, _ in took) / len(took)
    longest_s, name = max(took)
    return f"; {mean_s:.1f} s each on average, the longest {longest_s:.1f} s ({name})"


def matrix_tables(run: Run) -> tuple[Table | Text, ...]:
    """Return the kill matrix of each gate that has one, with a line that sums it up."""
    parts: list[Table | Text] = []
    for matrix in gate_matrices(run):
        title = f"gate {matrix.gate}: which check (column) a falsifier (row) failed"
        table = Table(title=title, box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("falsifier", no_wrap=True)
        for check in matrix.checks:
            table.add_column(check, justify="center", no_wrap=True)
        for name, cells in matrix.rows:
            marks = [MARKS[cells[one].result] if one in cells else "" for one in matrix.checks]
            table.add_row(Text(name), *map(Text, marks))
        parts += [table, Text(matrix_line(matrix))]
    return tuple(parts)


def shard_lines(run: Run) -> tuple[str, ...]:
    """Return which shard a run is, or the shards that it was merged from; empty for a whole run."""
    if run.shard is not None:
        return (f"{run.shard} of run {run.shard.nonce}: merge the bundles of all shards",)
    if run.merged is None:
        return ()
    merged = run.merged
    missing = "".join(f"; shard {number} is missing" for number in merged.missing)
    lines = [f"merged from {len(merged.shards)} of {many(merged.of, 'shard')}{missing}"]
    for one in merged.shards:
        took = duration(one.ended - one.started)
        where = one.platform or "no environment started"
        lines.append(f"  shard {one.number}: {where}, started {moment(one.started)}, took {took}")
    return tuple(lines)


def gate_lines(run: Run) -> tuple[Text, ...]:
    """Return the reasons for the result: open criteria first, then the run's own reasons.

    A criterion that is released under a waiver is shown too, and so are statements of absence.
    """
    lines: dict[str, list[Verdict]] = {}
    for verdict in open_verdicts(run):
        if _needs_line(verdict, run.falsify):
            lines.setdefault(_explanation(verdict), []).append(verdict)
    lines_of_criteria = [_line(alike) for alike in lines.values()]
    criteria = {verdict.id for verdict in run.criteria}
    others = (reason for reason in obstacles(run) if reason.partition(" ")[0] not in criteria)
    absences = (Text(visible(f"declared absent: {one}")) for one in run.absences)
    return (*lines_of_criteria, *(Text(visible(reason)) for reason in others), *absences)


def _needs_line(verdict: Verdict, asked: Extent) -> bool:
    """Return whether a verdict gets a line: a pass needs none if no proof was requested."""
    if verdict.outcome is not Outcome.PASS:
        return verdict.outcome is not Outcome.NOTSELECTED
    return asked == "all" or verdict.falsification is not Falsification.UNPROVEN


def _cells(row: GateRow, shown: Sequence[Outcome]) -> list[Text]:
    counts = [_count(row.counts[outcome], STYLES[outcome]) for outcome in shown]
    proofs = f"{row.proven}/{row.declared}" if row.declared else "–"
    result = Text(row.verdict, _RESULT_STYLES[row.result] if row.selected else "dim")
    if row.waived:
        result.append(f" ({row.waived} waived)", "yellow")
    return [Text(row.gate), Text(str(row.criteria)), *counts, Text(proofs), result]


def _count(count: int, style: str) -> Text:
    return Text(str(count), style) if count else Text("·", "dim")


def _line(alike: Sequence[Verdict]) -> Text:
    """Return one line for verdicts with the same explanation."""
    verdict = alike[0]
    line = Text(f"{', '.join(one.id for one in alike)} ", "bold")
    line.append(WORDS[verdict.outcome], STYLES[verdict.outcome])
    line.append(visible(_explanation(verdict)).removeprefix(WORDS[verdict.outcome]))
    return line


def _explanation(verdict: Verdict) -> str:
    cause = f" ({verdict.cause.value})" if verdict.cause else ""
    proofs = f", {verdict.falsification.value}" if verdict.outcome is Outcome.PASS else ""
    return f"{WORDS[verdict.outcome]}{cause}{proofs}: {_reason(verdict)[:_LINE_LIMIT]}"


def _reason(verdict: Verdict) -> str:
    if verdict.waiver is not None and verdict.disposition is not Disposition.NONE:
        waiver = verdict.waiver
        how = "waived" if verdict.disposition is Disposition.WAIVED else "waiver expired"
        return f"{verdict.message} [{how} by {waiver.owner} until {waiver.expires}]"
    if verdict.outcome is not Outcome.PASS:
        return verdict.message
    if not verdict.proofs:
        return "its check names no falsifier"
    broken = [p for p in verdict.proofs if p.result is verdict.falsification]
    return "; ".join(f"{proof.falsifier}: {proof.message}" for proof in broken)
