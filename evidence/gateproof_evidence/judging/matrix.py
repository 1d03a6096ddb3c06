"""The kill matrix of a gate: redundant checks, and falsifiers that only one check detects.

Owns the counts. Leaves the judgement of a cell to `gateproof_evidence.judging.proof`, and the
layout to the reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateproof_evidence.model import Cell, CellResult, Run


@dataclass(frozen=True, kw_only=True)
class GateMatrix:
    """The checks of one gate against its falsifiers."""

    gate: str
    checks: tuple[str, ...]
    """Ids of the criteria whose checks ran, in the order of the catalogue."""
    rows: tuple[tuple[str, Mapping[str, Cell]], ...]
    """Each falsifier as ``criterion:name``, and the cell of each check that ran against it."""

    def killers(self, falsifier: str) -> tuple[str, ...]:
        """Return the checks that a falsifier made fail, by an assertion."""
        cells = dict(self.rows)[falsifier]
        return tuple(check for check in self.checks if _result(cells, check) == "killed")

    @property
    def seen_by_one(self) -> tuple[str, ...]:
        """Falsifiers that exactly one check detects."""
        return tuple(name for name, _ in self.rows if len(self.killers(name)) == 1)

    @property
    def redundant(self) -> tuple[str, ...]:
        """Checks that detect no falsifier alone: other checks of the gate detect the same."""
        needed = {self.killers(name)[0] for name in self.seen_by_one}
        return tuple(check for check in self.checks if check not in needed)


def gate_matrices(run: Run) -> tuple[GateMatrix, ...]:
    """Return a matrix for each gate that has cells; none if no matrix was requested."""
    gates = {verdict.id: verdict.gate for verdict in run.criteria}
    cells: dict[str, list[Cell]] = {gate: [] for gate in gates.values()}
    for cell in run.matrix:
        if cell.criterion in gates and cell.owner in gates:  # a run records no other cell
            cells[gates[cell.criterion]].append(cell)
    return tuple(_matrix(gate, tuple(own), run) for gate, own in cells.items() if own)


def matrix_line(matrix: GateMatrix) -> str:
    """Return a summary of a matrix, in one line."""
    redundant = ", ".join(matrix.redundant) or "none"
    return (
        f"gate {matrix.gate}: {len(matrix.seen_by_one)} of {len(matrix.rows)} falsifiers are "
        f"detected by one check only; redundant checks: {redundant}"
    )


def _matrix(gate: str, cells: tuple[Cell, ...], run: Run) -> GateMatrix:
    met = {cell.criterion for cell in cells}
    order = {verdict.id: place for place, verdict in enumerate(run.criteria)}
    rows: dict[str, dict[str, Cell]] = {}
    for cell in sorted(cells, key=lambda cell: (order[cell.owner], cell.falsifier)):
        rows.setdefault(f"{cell.owner}:{cell.falsifier}", {})[cell.criterion] = cell
    return GateMatrix(
        gate=gate,
        checks=tuple(verdict.id for verdict in run.criteria if verdict.id in met),
        rows=tuple(rows.items()),
    )


def _result(cells: Mapping[str, Cell], check: str) -> CellResult | None:
    return cells[check].result if check in cells else None
