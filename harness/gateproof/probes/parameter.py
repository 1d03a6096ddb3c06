"""Finds the column names of a statement's positional parameters, so that secrets can be redacted.

Recognises ``name = %s``, ``%s AS name`` and the columns of an INSERT. Leaves the meaning of a name
to the caller. This is not an SQL parser: a parameter in any other place has no name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLACEHOLDER = re.compile(
    r"(?i)(?:(?P<before>[a-z_]\w*)\"?\s*(?:=|<>|!=)\s*)?%s(?:::\w+)?"
    r"(?:\s+AS\s+\"?(?P<after>[a-z_]\w*))?"
)
_INSERT = re.compile(
    r"(?i)\binsert\s+into\s+[\w.\"]+\s*\((?P<columns>[^()]*)\)\s*values\s*\((?P<values>[^()]*)\)"
)


def parameter_names(statement: str, count: int) -> Sequence[str]:
    """Return the name of each positional parameter; an empty string where it is not known."""
    names = [match["before"] or match["after"] or "" for match in _PLACEHOLDER.finditer(statement)]
    insert = _INSERT.search(statement)
    if insert:
        columns = [column.strip(' "\n\t') for column in insert["columns"].split(",")]
        values = insert["values"].split(",")
        own = [name for name, value in zip(columns, values, strict=False) if "%s" in value]
        first = statement.count("%s", 0, insert.start("values"))
        names[first : first + len(own)] = own
    return [*names, *[""] * count][:count]
