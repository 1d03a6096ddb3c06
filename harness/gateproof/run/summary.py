"""Prints the summary of a run: the table of gates, the reasons for the verdict, the bundle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from gateproof.run.run import GateRun
from gateproof_evidence.format.archive.writer import archive_of
from gateproof_evidence.model import Run
from gateproof_evidence.reports.terminal import (
    gate_lines,
    gate_table,
    matrix_tables,
    proof_line,
    shard_lines,
    takeover_lines,
)


def print_summary(
    reporter: pytest.TerminalReporter,
    judged: Run,
    bundle: Path,
    *,
    run: GateRun,
    sealing_s: float,
) -> None:
    """Print the verdict, and the paths of the report and the bundle."""
    reporter.ensure_newline()
    print_table(reporter, gate_table(judged))
    for line in gate_lines(judged):
        print_table(reporter, line)
    for table in matrix_tables(judged):
        print_table(reporter, table)
    for text in shard_lines(judged):
        reporter.write_line(text)
    if judged.falsify != "none":
        reporter.write_line(proof_line(judged))
    for text in takeover_lines(judged):
        reporter.write_line(text)
    if judged.environment is not None:
        where = judged.environment
        reporter.write_line(
            f"environment: {where.kind}, PostgreSQL {where.postgres}, {where.reason}"
        )
    steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.took_s.items())
    timing = judged.timing
    reporter.write_line(
        f"time: start-up {timing.start_up_s:.1f} s ({steps or 'nothing was started'}), "
        f"checks {timing.checks_s:.1f} s, proofs {timing.proofs_s:.1f} s, "
        f"sealing {sealing_s:.1f} s, packing into one file {run.packing_s:.1f} s"
    )
    if run.key.is_ephemeral:
        reporter.write_line(
            "signed with a key generated for this run: it proves integrity, not the signer"
        )
    reporter.write_line(f"report: {bundle / 'data' / 'report.html'}")
    reporter.write_line(f"one file: {archive_of(bundle)}")
    reporter.write_line(f"verify: gateproof verify {bundle}")


@contextmanager
def without_lines(reporter: pytest.TerminalReporter, text: str) -> Iterator[None]:
    """Leave out titled separator lines with a text while the block runs.

    The plugins for JUnit and HTML name the file that they wrote in such a line. Sealing then
    renames its folder, so that the path leads to nothing.
    """
    write_sep = reporter.write_sep

    def write(sep: str, title: str | None = None, *more: Any, **markup: bool) -> None:
        if text not in (title or ""):
            write_sep(sep, title, *more, **markup)

    with patched(reporter, "write_sep", write):
        yield


@contextmanager
def patched(owner: object, name: str, value: object) -> Iterator[None]:
    """Set an attribute of an object while the block runs, and remove it afterwards."""
    setattr(owner, name, value)
    try:
        yield
    finally:
        delattr(owner, name)


def print_table(reporter: pytest.TerminalReporter, renderable: RenderableType) -> None:
    """Print a table or a text of rich, as wide as the terminal."""
    width = max(80, reporter.config.get_terminal_writer().fullwidth)
    console = Console(width=width, force_terminal=reporter.hasmarkup, highlight=False)
    with console.capture() as capture:
        console.print(renderable)
    reporter.write(capture.get())
