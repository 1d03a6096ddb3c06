"""The page of a mutation run, and its tables in a terminal.

Owns the layout. Leaves the figures to `gateproof.proof.mutation.report.result`. The page has no
script, and all texts in it are escaped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.table import Table

from gateproof.proof.mutation.mutant import Status
from gateproof.proof.mutation.report.result import Judged, MutationResult, Row
from gateproof_evidence.model.text import many

TEMPLATES = Path(__file__).parent / "templates"
PAGE = "mutation.html"
MOST_LINES = 12
"""The most survivors that a terminal shows."""


def render(result: MutationResult) -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment.get_template(PAGE).render(result=result, total=result.total, Status=Status)


def percent(share: float | None) -> str:
    """Return a share in percent, rounded down: 100 % means all."""
    return "-" if share is None else f"{int(share * 1000) / 10:.1f} %"


def table(result: MutationResult) -> Table:
    """Return the figures by kind and operator."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("mutants")
    for name in ("all", "killed", "survived", "void", "equivalent", "not run", "score", "mean s"):
        shown.add_column(name, justify="right")
    for row in [*result.rows(), result.total]:
        shown.add_row(*_cells(row), style="" if row.operator else "bold")
    return shown


def lines(result: MutationResult) -> Iterator[str]:
    """Yield what follows the table: the survivors, and what could not be judged."""
    found = result.open
    if found:
        yield f"{many(len(found), 'mutant')} survived that mutants.toml does not accept:"
        for one in found[:MOST_LINES]:
            yield f"  {one.mutant.where}: {_first_change(one)} ({one.mutant.id})"
        if len(found) > MOST_LINES:
            yield f"  and {len(found) - MOST_LINES} more on the page"
    accepted = len(result.survivors) - len(found)
    if accepted:
        yield f"{many(accepted, 'survivor')} accepted in mutants.toml"
    unsettled = [one for one in found if one.outcome and one.outcome.unsettled]
    if unsettled:
        yield (
            f"with {len(unsettled)} of the survivors a check ended without a verdict: a run of the "
            "gates would not be green either"
        )
    if result.missing:
        yield f"{many(len(result.missing), 'mutant')} not run; the same command continues"


def _cells(row: Row) -> list[str]:
    name = f"  {row.operator}" if row.operator else row.kind
    counts = (row.mutants, row.killed, row.survived, row.void, row.equivalent, row.missing)
    mean = f"{row.killed_s:.1f}" if row.killed else "-"
    return [name, *(str(count) for count in counts), percent(row.score), mean]


def _first_change(one: Judged) -> str:
    """Return the changed line of a diff, or the first line of a statement."""
    lines = one.mutant.change.splitlines()
    added = [line for line in lines if line.startswith("+") and not line.startswith("+++")]
    removed = [line for line in lines if line.startswith("-") and not line.startswith("---")]
    chosen = (added or removed or lines or [""])[0]
    return " ".join(chosen.split())[:120]
