r"""Secrets in tables of psql: values of columns with the name of a secret.

Owns finding such cells in text, aligned and expanded. Leaves the list of secret names to
`gateproof_evidence.redaction.secret`. The SQL probe does not need this: it knows its columns.

Source: psql(1), ``\\pset format aligned`` and ``\\x``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateproof_evidence.redaction.secret import is_secret_name

_RULE = re.compile(r"-{2,}(?:-?\+-{2,})*-?")
_RECORD = re.compile(r"-\[ RECORD \d+ \][-+]*")
_PAIR = re.compile(r"(?P<name>\S+) +\| (?P<value>.*\S)")


def secret_cells(text: str) -> Iterator[tuple[int, int]]:
    """Yield the positions of cells in secret columns."""
    header, expanded, start = "", False, 0
    columns: list[int] = []
    for line in text.splitlines(keepends=True):
        bare = line.rstrip()
        if _RECORD.fullmatch(bare):
            columns, expanded = [], True
        elif _RULE.fullmatch(bare) and header:
            columns, expanded = _columns(header), False
        elif not bare or bare.startswith("("):
            columns, expanded = [], False
        elif expanded:
            yield from _expanded(bare, start)
        elif columns:
            yield from _aligned(bare, columns, start)
        header = bare
        start += len(line)


def _columns(header: str) -> list[int]:
    """Return the numbers of the secret columns."""
    names = [name.strip() for name in header.split("|")]
    return [number for number, name in enumerate(names) if is_secret_name(name)]


def _aligned(line: str, columns: list[int], start: int) -> Iterator[tuple[int, int]]:
    cells = line.split("|")
    for number in columns:
        if number < len(cells):
            before = start + sum(len(cell) + 1 for cell in cells[:number])
            yield from _stripped(cells[number], before)


def _expanded(line: str, start: int) -> Iterator[tuple[int, int]]:
    match = _PAIR.fullmatch(line)
    if match and is_secret_name(match["name"]):
        yield start + match.start("value"), start + match.end("value")


def _stripped(cell: str, start: int) -> Iterator[tuple[int, int]]:
    bare = cell.strip()
    if bare and not bare.startswith("[redacted:"):
        first = start + cell.index(bare)
        yield first, first + len(bare)
