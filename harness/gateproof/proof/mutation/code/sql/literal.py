"""A string that holds SQL, read in place: its text without quotes, and changes that keep them.

The SQL has the length of the literals in the source: quotes, escapes and the space between joined
literals are blanks, and an insertion of an f-string is a run of `INSERTED`. So an offset in the SQL
is one in the source.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from gateproof.proof.mutation.code.edit import Change
from gateproof.proof.mutation.code.source import Source, Span
from gateproof.proof.mutation.code.sql.token import INSERTED

_STATEMENT = (
    r"SELECT\s|INSERT\s+INTO\s|DELETE\s+FROM\s|MERGE\s+INTO\s|UPDATE\s[^;]*\sSET\s"
    r"|WITH\s+(?:RECURSIVE\s+)?\w+\s*(?:\([^)]*\)\s*)?AS\s"
    r"|CREATE\s+(?:OR\s+REPLACE\s+|UNIQUE\s+)?(?:FUNCTION|PROCEDURE|TRIGGER|POLICY|VIEW|INDEX"
    r"|MATERIALIZED\s+VIEW|RULE)\s|DO\s+\$"
)
_FRAGMENT = (
    r"(?:FROM|WHERE|SET|VALUES|RETURNING|LIMIT|JOIN|ORDER\s+BY|GROUP\s+BY|ON\s+CONFLICT"
    r"|(?:LEFT|INNER|CROSS)\s+JOIN)\s"
)
_SQL = re.compile(rf"\s*(?:{_STATEMENT}|{_FRAGMENT})")
_LOWER_SQL = re.compile(rf"\s*(?:{_STATEMENT.lower()})")
_PREFIX = re.compile(r"""(?P<prefix>[A-Za-z]*)(?P<quotes>\"{3}|'{3}|"|')""")
_ESCAPE = re.compile(r"\\(?:\r\n|.)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Literal:
    """SQL in one or several joined literals."""

    text: str
    """The literals in the source, with the quotes."""
    masked: str
    """The same, with blanks for all that is not SQL."""
    start: int
    """Offset in the source."""
    bodies: tuple[Span, ...]
    """The parts inside of quotes, as offsets in `text`."""

    def change(self, operator: str, start: int, end: int, after: str) -> Change:
        """Return the replacement of a part of the SQL; quotes and comments inside it are kept."""
        kept, position = [], start
        for body in self.bodies:
            kept.append(self.text[position : max(position, min(body.start, end))])
            position = max(position, min(body.end, end))
        return Change(
            operator=operator,
            start=self.start + start,
            end=self.start + end,
            after=after + "".join(kept),
            last=self.start + len(self.text),
        )


def is_sql(source: Source, node: ast.AST) -> bool:
    """Return whether a string begins as a statement of SQL, or as a clause in capitals."""
    if isinstance(node, ast.Constant) and not isinstance(node.value, str):
        return False
    masked = literal_of(source, node).masked
    return bool(_SQL.match(masked) or _LOWER_SQL.match(masked))


def literal_of(source: Source, node: ast.AST) -> Literal:
    """Return the SQL of a string."""
    pieces = source.pieces_of(node)
    start = pieces[0].start if pieces else 0
    text = source.text[start : pieces[-1].end] if pieces else ""
    bodies, masked = [], [" "] * len(text)
    for piece in pieces:
        body, sql = _read(source.text[piece.start : piece.end])
        place = piece.start - start + body.start
        bodies.append(Span(place, piece.start - start + body.end))
        masked[place : place + len(sql)] = sql
    return Literal(text=text, masked="".join(masked), start=start, bodies=tuple(bodies))


def _read(piece: str) -> tuple[Span, str]:
    """Return where the body of a literal is, and its SQL."""
    match = _PREFIX.match(piece)
    assert match is not None
    body = Span(match.end(), len(piece) - len(match["quotes"]))
    sql, prefix = piece[body.start : body.end], match["prefix"].lower()
    if "r" not in prefix:
        sql = _ESCAPE.sub(lambda escape: " " * len(escape[0]), sql)
    return body, "".join(_inserted(sql)) if "f" in prefix else sql


def _inserted(sql: str) -> Iterator[str]:
    """Yield the characters of an f-string, with `INSERTED` for each one of what it inserts."""
    depth = 0
    for character in sql.replace("{{", "  ").replace("}}", "  ") if "{" in sql else sql:
        depth += character == "{"
        yield INSERTED if depth else character
        depth -= character == "}"
