"""All mutants of a source text: every operator at every site, each edit once, in a stable order."""

from __future__ import annotations

from collections.abc import Iterator

from gateproof.proof.mutation.code.edit import Change, Edit
from gateproof.proof.mutation.code.operators import OPERATORS
from gateproof.proof.mutation.code.pragma import first_of
from gateproof.proof.mutation.code.site import Site, sites
from gateproof.proof.mutation.code.source import Source, read


def edits_of(text: str) -> list[Edit]:
    """Return all mutants of a source text, ordered by where they begin.

    Two operators that make the same change give one edit, of the operator at the outer node. Edits
    that a pragma excludes are returned too, with its reason. Not checked: whether a mutant behaves
    differently, see `same_bytecode`.

    Args:
        text: Python that the running interpreter parses.

    Raises:
        BadInputError: it does not parse, or an exclusion pragma breaks its rule.

    """
    source = read(text)
    edits: dict[tuple[int, int, str], Edit] = {}
    for site, change in _changes(source):
        key = (change.start, change.end, change.after)
        if text[change.start : change.end] != change.after and key not in edits:
            edits[key] = _edit(source, site, change)
    return [edits[key] for key in sorted(edits)]


def _changes(source: Source) -> Iterator[tuple[Site, Change]]:
    for site in sites(source.tree):
        for operator in OPERATORS:
            for change in operator(source, site):
                yield site, change


def _edit(source: Source, site: Site, change: Change) -> Edit:
    line, column = source.position(change.start)
    last, _ = source.position(max(change.start, change.last))
    return Edit(
        operator=change.operator,
        line=line,
        column=column,
        function=site.function,
        start=change.start,
        end=change.end,
        after=change.after,
        excluded=first_of(source.pragmas.get(place) for place in (line, last)),
    )
