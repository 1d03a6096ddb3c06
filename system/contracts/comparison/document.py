"""Compare two versions of a document: its operations and where they are served."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from system.contracts.comparison.change import Change
from system.contracts.comparison.flat import text_of
from system.contracts.comparison.operation import compare_operation
from system.contracts.reading.contract import IMPLEMENTED
from system.contracts.reading.document import Json
from system.contracts.reading.operation import operations


def compare(old: Json, new: Json) -> tuple[Change, ...]:
    """Return the changes from one bundled document to another, those that break first.

    Args:
        old: the released version.
        new: the later one.

    Raises:
        KeyError: a reference of a document names nothing.

    """
    return tuple(sorted(set(_changes(old, new)), key=_order))


def _order(one: Change) -> tuple[bool | str, ...]:
    return (not one.is_breaking, one.where, one.name, one.got, one.expected)


def _changes(old: Json, new: Json) -> Iterator[Change]:
    before = {one.route: one for one in operations(old)}
    after = {one.route: one for one in operations(new)}
    for route in before.keys() - after.keys():
        name = before[route].name
        yield Change(name="operation-removed", where=name, got="no such operation", expected="it")
    for route in after.keys() - before.keys():
        yield Change(
            name="operation-added",
            where=after[route].name,
            got="a new operation",
            expected="none",
            is_breaking=False,
        )
    for route in before.keys() & after.keys():
        yield from compare_operation(before[route], after[route])
    yield from _bases(old, new)
    yield from _implementations(old, new)
    if text_of(old, old.get("webhooks")) != text_of(new, new.get("webhooks")):
        yield Change(name="undecided", where="/webhooks", got="a change", expected="none")


def _implementations(old: Json, new: Json) -> Iterator[Change]:
    """A service that no longer promises its operations is as if they were removed."""
    before, after = (document.get(IMPLEMENTED) for document in (old, new))
    if (before is True) != (after is True):
        yield Change(
            name="implementation-withdrawn" if before is True else "implementation-promised",
            where="/",
            got=f"{IMPLEMENTED}: {after}",
            expected=str(before),
            is_breaking=before is True,
        )


def _bases(old: Json, new: Json) -> Iterator[Change]:
    """Compare the paths under which the operations are served; the machine may change."""
    before, after = (
        {urlsplit(str(one.get("url", "/"))).path.rstrip("/") for one in document.get("servers", ())}
        or {""}
        for document in (old, new)
    )
    if before - after:
        got, expected = (", ".join(sorted(one or "/" for one in each)) for each in (after, before))
        yield Change(name="server-moved", where="/servers", got=got, expected=expected)
