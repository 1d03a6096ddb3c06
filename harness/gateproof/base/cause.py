"""The line that names the cause, in the output of a command that failed."""

from __future__ import annotations

import re

NOTHING = "it printed nothing"

_CAUSE = re.compile(
    r"^(?:\w*(?:Error|Exception)|\w+(?:\.\w+)+|FAILED|FATAL|ERROR):\s"  # an exception or a report
    r"|:\s+(?:ERROR|FATAL):\s"  # psql names its file and line first
)
"""A line of a traceback or of a database client, and not the hints and links that follow it."""


def cause_of(output: str) -> str:
    """Return the last line that names an error or, if there is none, the last line.

    SQLAlchemy prints the statement and a link after the message of the database.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()] or [NOTHING]
    causes = [line for line in lines if _CAUSE.search(line)]
    return (causes or lines)[-1]
