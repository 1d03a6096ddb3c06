"""The names under which a statement's positional parameters stand, where the statement says so.

Owns reading them off ``name = %s``, ``%s AS name`` and the columns of an INSERT. Leaves what a name
means to whoever asks. No parser of SQL: what it does not recognise has no name.
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
    """Return a name for each positional parameter; an empty one where none is known."""
    names = [match["before"] or match["after"] or "" for match in _PLACEHOLDER.finditer(statement)]
    insert = _INSERT.search(statement)
    if insert:
        columns = [column.strip(' "\n\t') for column in insert["columns"].split(",")]
        values = insert["values"].split(",")
        own = [name for name, value in zip(columns, values, strict=False) if "%s" in value]
        first = statement.count("%s", 0, insert.start("values"))
        names[first : first + len(own)] = own
    return [*names, *[""] * count][:count]
