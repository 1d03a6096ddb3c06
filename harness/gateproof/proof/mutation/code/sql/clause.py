"""The changes of clauses: a condition or a clause less, another order, another boundary.

Owns where a clause ends: where a word that begins another one has the same depth. RETURNING stays:
without it the caller fails at once, whatever the statement does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from gateproof.proof.mutation.code.sql.token import INSERTED, Token

_ENDS = re.compile(
    "GROUP|ORDER|LIMIT|OFFSET|FETCH|FOR|RETURNING|UNION|INTERSECT|EXCEPT|HAVING|WINDOW|WHERE|FROM"
    "|SET|ON|JOIN|LEFT|RIGHT|FULL|INNER|CROSS|NATURAL|LOOP|INTO|WHEN|DO|THEN|WITH|ROWS|RANGE"
)
_ENDS_OF_CONFLICT = re.compile("RETURNING")
_ENDS_OF_STATEMENT = re.compile(r";|\$\w*\$")
_BOUNDARIES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_LOCKS = frozenset(("NO", "KEY", "UPDATE", "SHARE"))
_OF_POLICY = frozenset(("USING", "TO", "WITH"))
_BEFORE_OPERAND = re.compile(
    rf"{_ENDS.pattern}|AND|OR|NOT|IN|IS|ANY|ALL|LIKE|ILIKE|BETWEEN|ELSE|SELECT|BY"
)
_NEAR = 5
"""The number of tokens in which UPDATE stands before its SET: ``UPDATE ONLY table AS name SET``."""


class ClauseChange(NamedTuple):
    """A replacement of a part of SQL, in offsets of its characters."""

    operator: str
    start: int
    end: int
    after: str


def clause_changes(tokens: Sequence[Token]) -> Iterator[ClauseChange]:
    """Yield the changes of all clauses, in nested queries and in bodies of functions too."""
    for place, token in enumerate(tokens):
        if token.word in _BOUNDARIES:
            after = _BOUNDARIES[token.word]
            yield ClauseChange("sql-boundary", token.start, token.end, after)
        elif token.word in _CHANGES:
            yield from _CHANGES[token.word](tokens, place)


def _where(tokens: Sequence[Token], place: int) -> Iterator[ClauseChange]:
    conditions = _conjuncts(_extent(tokens, place + 1), tokens[place].depth)
    if len(conditions) == 1 and conditions[0]:
        only = conditions[0]
        yield ClauseChange("sql-where", only[0].start, only[-1].end, "true")
    yield from _one_less("sql-where", conditions)


def _on(tokens: Sequence[Token], place: int) -> Iterator[ClauseChange]:
    if _word(tokens, place + 1) == "CONFLICT":
        yield from _conflict(tokens, place)
    else:
        conditions = _conjuncts(_extent(tokens, place + 1), tokens[place].depth)
        yield from _one_less("sql-join", conditions)


def _conflict(tokens: Sequence[Token], place: int) -> Iterator[ClauseChange]:
    """Yield the statement without the clause, and with the other action."""
    clause = _extent(tokens, place + 1, ends=_ENDS_OF_CONFLICT)
    words = [token.word for token in clause]
    if "DO" not in words:
        return
    yield ClauseChange("sql-on-conflict", tokens[place].start, clause[-1].end, "")
    action = words.index("DO")
    start, end = clause[action].start, clause[-1].end
    if words[action + 1 :] != ["NOTHING"]:
        yield ClauseChange("sql-on-conflict", start, end, "DO NOTHING")
    elif words[1] == "(" and words[2].isidentifier():
        column = words[2].lower()
        after = f"DO UPDATE SET {column} = excluded.{column}"
        yield ClauseChange("sql-on-conflict", start, end, after)


def _locking(tokens: Sequence[Token], place: int) -> Iterator[ClauseChange]:
    """Yield the query without its locks, and without SKIP LOCKED."""
    after = place + 1
    while _word(tokens, after) in _LOCKS:
        after += 1
    if after == place + 1 or _word(tokens, after) in _OF_POLICY:
        return
    after = _after_names(tokens, after)
    if _word(tokens, after) == "SKIP":
        skip = tokens[after : after + 2]
        yield ClauseChange("sql-skip-locked", tokens[after - 1].end, skip[-1].end, "")
        after += len(skip)
    elif _word(tokens, after) == "NOWAIT":
        after += 1
    yield ClauseChange("sql-locking", tokens[place].start, tokens[after - 1].end, "")


def _after_names(tokens: Sequence[Token], place: int) -> int:
    """Return the place after ``OF name, name``, if that is there."""
    if _word(tokens, place) == "OF":
        place += 2
        while _word(tokens, place) == ",":
            place += 2
    return min(place, len(tokens))


def _order(tokens: Sequence[Token], place: int) -> Iterator[ClauseChange]:
    keys = _extent(tokens, place + 2) if _word(tokens, place + 1) == "BY" else []
    if not keys:
        return
    if _word(tokens, place - 2) != "GROUP":  # WITHIN GROUP (ORDER BY ...) must have an order
        yield ClauseChange("sql-order-by", tokens[place].start, keys[-1].end, "")
    yield _reversed(_groups(keys, ",", tokens[place].depth)[0])


def _reversed(key: Sequence[Token]) -> ClauseChange:
    words = [token.word for token in key]
    if "DESC" in words:
        place = words.index("DESC")
        return ClauseChange("sql-order-by", key[place - 1].end, key[place].end, "")
    if "ASC" in words:
        ascending = key[words.index("ASC")]
        return ClauseChange("sql-order-by", ascending.start, ascending.end, "DESC")
    end = key[words.index("NULLS") - 1 if "NULLS" in words else -1].end
    return ClauseChange("sql-order-by", end, end, " DESC")


def _limit(tokens: Sequence[Token], place: int) -> Iterator[ClauseChange]:
    if most := _extent(tokens, place + 1):
        yield ClauseChange("sql-limit", tokens[place].start, most[-1].end, "")


def _set(tokens: Sequence[Token], place: int) -> Iterator[ClauseChange]:
    near = [token.word for token in tokens[max(0, place - _NEAR) : place]]
    if place == 0 or ("UPDATE" in near and ";" not in near):
        columns = _groups(_extent(tokens, place + 1), ",", tokens[place].depth)
        yield from _one_less("sql-set", columns)


_CHANGES: dict[str, Callable[[Sequence[Token], int], Iterator[ClauseChange]]] = {
    "WHERE": _where,
    "ON": _on,
    "FOR": _locking,
    "ORDER": _order,
    "LIMIT": _limit,
    "SET": _set,
}


def _word(tokens: Sequence[Token], place: int) -> str:
    return tokens[place].word if 0 <= place < len(tokens) else ""


def _extent(
    tokens: Sequence[Token], first: int, *, ends: re.Pattern[str] = _ENDS
) -> Sequence[Token]:
    """Return the tokens of a clause, from its first token after the word that begins it."""
    depth = tokens[first - 1].depth
    last = first
    while last < len(tokens) and not _is_end(tokens, last, depth, ends):
        last += 1
    return tokens[first:last]


def _is_end(tokens: Sequence[Token], place: int, depth: int, ends: re.Pattern[str]) -> bool:
    token = tokens[place]
    if token.depth != depth:
        return token.depth < depth
    if token.word == "FROM" and _word(tokens, place - 1) == "DISTINCT":
        return False
    if token.word in ("LEFT", "RIGHT") and _word(tokens, place + 1) == "(":
        return False
    if token.word.startswith(INSERTED):
        return _follows_operand(tokens, place)
    return bool(ends.fullmatch(token.word) or _ENDS_OF_STATEMENT.fullmatch(token.word))


def _follows_operand(tokens: Sequence[Token], place: int) -> bool:
    """Return whether an insertion cannot be an operand, and so is a clause: ``b = 1 {where}``."""
    before = tokens[place - 1]
    operand = before.word[-1:].isalnum() or before.word[-1:] in ("_", ")", "'", '"')
    apart = before.end < tokens[place].start
    return operand and apart and not _BEFORE_OPERAND.fullmatch(before.word)


def _conjuncts(tokens: Sequence[Token], depth: int) -> list[list[Token]]:
    """Return the operands of AND; the AND of BETWEEN is none."""
    return _groups(tokens, "AND", depth)


def _groups(tokens: Sequence[Token], separator: str, depth: int) -> list[list[Token]]:
    groups: list[list[Token]] = [[]]
    between = False
    for token in tokens:
        if token.word == separator and token.depth == depth and not between:
            groups.append([])
            continue
        if token.depth == depth and token.word in ("BETWEEN", "AND"):
            between = token.word == "BETWEEN"
        groups[-1].append(token)
    return groups


def _one_less(operator: str, groups: Sequence[Sequence[Token]]) -> Iterator[ClauseChange]:
    """Yield each group's removal, with its separator."""
    if len(groups) < 2 or not all(groups):
        return
    yield ClauseChange(operator, groups[0][0].start, groups[1][0].start, "")
    for before, group in pairwise(groups):
        yield ClauseChange(operator, before[-1].end, group[-1].end, "")
