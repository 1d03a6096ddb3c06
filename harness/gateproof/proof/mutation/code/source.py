"""A source text with its syntax tree, and the positions of both in characters.

`ast` counts columns in bytes of UTF-8; an edit counts characters from the start of the text. Owns
this conversion, the exclusion pragmas, and the pieces of string literals. Leaves the choice of
nodes to `gateproof.proof.mutation.code.site`.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gateproof.proof.mutation.code.pragma import reason_of
from gateproof_evidence.errors import BadInputError

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_COMMENT = re.compile(r"#[^\r\n]*")
_OPENING = ("FSTRING_START", "TSTRING_START")
_CLOSING = ("FSTRING_END", "TSTRING_END")


class Span(NamedTuple):
    """A part of a text, in offsets of characters."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """A text that parses; made with `read`."""

    text: str
    tree: ast.Module
    lines: tuple[int, ...]
    """The offset at which each line begins."""
    ascii_lines: tuple[bool, ...]
    """Whether a line has one byte for each character."""
    pieces: tuple[Span, ...]
    """The string literals, in order; those that are joined implicitly are separate."""
    pragmas: dict[int, str]
    """The reason of the exclusion pragma of a line."""

    def offset(self, line: int, column: int) -> int:
        """Return the offset of a position of `ast`: a line from 1, a column in bytes."""
        start = self.lines[line - 1]
        if self.ascii_lines[line - 1]:
            return start + column
        end = self.lines[line] if line < len(self.lines) else len(self.text)
        return start + len(self.text[start:end].encode()[:column].decode())

    def span(self, node: ast.AST) -> Span:
        """Return the span of a node; parentheses around an expression are not in it."""
        place = _Located.of(node)
        return Span(self.offset(place.line, place.column), self.offset(place.end, place.end_column))

    def of(self, node: ast.AST) -> str:
        """Return the text of a node."""
        span = self.span(node)
        return self.text[span.start : span.end]

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line, from 1, and the column in characters, from 0, of an offset."""
        line = bisect_right(self.lines, offset)
        return line, offset - self.lines[line - 1]

    def find(self, pattern: re.Pattern[str], start: int, end: int) -> Span:
        """Return the first match of a pattern between two nodes, outside of comments.

        Raises:
            LookupError: there is none.

        """
        gap = _COMMENT.sub(lambda comment: " " * len(comment[0]), self.text[start:end])
        match = pattern.search(gap)
        if match is None:
            raise LookupError(f"{pattern.pattern}: not in {gap!r}")
        return Span(start + match.start(), start + match.end())

    def pieces_of(self, node: ast.AST) -> tuple[Span, ...]:
        """Return the literals of which a string consists."""
        span = self.span(node)
        first = bisect_left(self.pieces, (span.start, 0))
        return self.pieces[first : bisect_left(self.pieces, (span.end, 0))]


class _Located(NamedTuple):
    line: int
    column: int
    end: int
    end_column: int

    @classmethod
    def of(cls, node: ast.AST) -> _Located:
        assert isinstance(node, ast.expr | ast.stmt | ast.keyword)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return cls(node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)


def read(text: str) -> Source:
    """Return a text with its tree.

    Raises:
        BadInputError: it is not Python that parses, or an exclusion pragma breaks its rule.

    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise BadInputError(
            f"source of mutants: got {error}, expected a text that this Python parses; correct it"
        ) from None
    matches = [match for match in _LINE.finditer(text) if match[0]]
    lines = tuple(match.start() for match in matches) or (0,)
    tokens = list(tokenize.generate_tokens(io.StringIO(text, newline="").readline))
    return Source(
        text=text,
        tree=tree,
        lines=lines,
        ascii_lines=tuple(match[0].isascii() for match in matches) or (True,),
        pieces=tuple(_pieces(tokens, lines)),
        pragmas=dict(_pragmas(tokens)),
    )


def _pieces(tokens: list[tokenize.TokenInfo], lines: tuple[int, ...]) -> Iterator[Span]:
    """Return the literals; since Python 3.12 an f-string consists of several tokens."""
    depth, start = 0, 0
    for token in tokens:
        name = tokenize.tok_name[token.type]
        if depth == 0 and (name == "STRING" or name in _OPENING):
            start = _offset(token.start, lines)
        depth += (name in _OPENING) - (name in _CLOSING)
        if depth == 0 and (name == "STRING" or name in _CLOSING):
            yield Span(start, _offset(token.end, lines))


def _offset(position: tuple[int, int], lines: tuple[int, ...]) -> int:
    return lines[position[0] - 1] + position[1]


def _pragmas(tokens: list[tokenize.TokenInfo]) -> Iterator[tuple[int, str]]:
    for token in tokens:
        if token.type == tokenize.COMMENT:
            line, column = token.start
            alone = not token.line[:column].strip()
            if reason := reason_of(token.string, line, alone=alone):
                yield line, reason
