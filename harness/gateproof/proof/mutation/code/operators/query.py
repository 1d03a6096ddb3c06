"""The operator of SQL in a string: the changes of its clauses, as changes of the literal."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gateproof.proof.mutation.code.edit import Change
from gateproof.proof.mutation.code.site import Site
from gateproof.proof.mutation.code.source import Source
from gateproof.proof.mutation.code.sql.clause import clause_changes
from gateproof.proof.mutation.code.sql.literal import is_sql, literal_of
from gateproof.proof.mutation.code.sql.token import tokens_of


def changes(source: Source, site: Site) -> Iterator[Change]:
    """Yield the changes of the clauses of a string that is SQL, f-strings included."""
    if isinstance(site.node, ast.Constant | ast.JoinedStr) and is_sql(source, site.node):
        literal = literal_of(source, site.node)
        for operator, start, end, after in clause_changes(tokens_of(literal.masked)):
            yield literal.change(operator, start, end, after)
