"""The comment that excludes the mutants of a line: ``# no mutants: REASON`` at its end."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateproof_evidence.errors import BadInputError

SHORTEST_REASON = 10
"""Characters."""

_PRAGMA = re.compile(r"#\s*no mutants\b(?P<rest>.*)", re.IGNORECASE)


def reason_of(comment: str, line: int, *, alone: bool) -> str:
    """Return the reason of an exclusion pragma in a comment; empty if it has none.

    Args:
        comment: the whole comment; a pragma may follow another one, such as ``# noqa: S608``.
        line: its line, from 1, for the message.
        alone: whether the line has nothing else.

    Raises:
        BadInputError: the pragma has no reason or a short one, or excludes nothing.

    """
    match = _PRAGMA.search(comment)
    if match is None:
        return ""
    colon, _, reason = match["rest"].partition(":")
    reason = reason.strip()
    if colon.strip() or len(reason) < SHORTEST_REASON or alone:
        raise BadInputError(_refusal(match[0], line, alone=alone))
    return reason


def _refusal(got: str, line: int, *, alone: bool) -> str:
    place = " on a line without code" if alone else ""
    return (
        f"exclusion pragma, line {line}: got {got.strip()!r}{place}, expected "
        f"'# no mutants: REASON' at the end of a line of code, with a reason of at least "
        f"{SHORTEST_REASON} characters; write why no check needs to notice a change of this line"
    )


def first_of(reasons: Iterable[str | None]) -> str:
    """Return the first reason that there is; empty if there is none."""
    return next((reason for reason in reasons if reason), "")
