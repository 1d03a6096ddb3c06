"""The operator of calls: a keyword argument is removed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from gateproof.proof.mutation.code.edit import Change
from gateproof.proof.mutation.code.site import HELP, Site
from gateproof.proof.mutation.code.source import Source
from gateproof.proof.mutation.code.typing_form import is_guard

_COMMA_AFTER = re.compile(r"\s*,[^\S\n]*")
_COMMA_BEFORE = re.compile(r",\s*$")


def changes(source: Source, site: Site) -> Iterator[Change]:
    """Yield a change for each keyword argument of a call, ``**more`` included."""
    if isinstance(site.node, ast.Call):
        for keyword in site.node.keywords:
            if keyword.arg not in HELP and not is_guard(site.node, keyword):
                start, end = _with_comma(source.text, *source.span(keyword))
                yield Change(operator="removed-keyword", start=start, end=end, after="")


def _with_comma(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span of an argument with the comma after it, else with the one before it."""
    after = _COMMA_AFTER.match(text, end)
    if after is not None:
        return start, after.end()
    before = _COMMA_BEFORE.search(text, 0, start)
    return (before.start() if before else start), end
