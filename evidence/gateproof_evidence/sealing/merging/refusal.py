"""Which bundles are the shards of one run: the rules, each with one message.

Owns the comparison of the parts of a merge with each other. Leaves verifying each of them to
`gateproof_evidence.sealing.merging.part`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.layout import WAIVERS
from gateproof_evidence.model import LOADED, Bound, Digest
from gateproof_evidence.sealing.merging.part import Part

_FEW = 5
"""The most ids that a message lists."""

_SAME_RUN = "merge the bundles of one run only"
_SAME_OPTIONS = "run all shards with the same options"
_SAME_FILES = "judge the same files on all machines"


def refuse_others(parts: Sequence[Part]) -> None:
    """Refuse parts that are not shards of one run.

    1. No bundle is named twice; all have the same number of shards and the same nonce.
    2. The same was judged, by the same rules: commit, changes, bound files, catalogue, waivers.
    3. The runs asked for the same: environment, proofs, baseline.
    4. No shard and no criterion was judged twice, and all divided the run in the same way.

    Raises:
        BadInputError: the first rule that does not hold.

    """
    first, others = parts[0], parts[1:]
    # 1
    _refuse_twice(parts)
    for one in others:
        _same("number of shards", first, one, (first.shard.of, one.shard.of), _SAME_RUN)
        _same("nonce", first, one, (first.shard.nonce, one.shard.nonce), _SAME_RUN)
    # 2
    for one in others:
        _refuse_other_subject(first, one)
    _refuse_other_code(parts)
    # 3
    started = [one for one in parts if one.record.environment is not None]
    for one in started[1:]:
        _same("environment", started[0], one, (_kind(started[0]), _kind(one)), _SAME_OPTIONS)
    for one in others:
        falsify = first.ending.falsify, one.ending.falsify
        _same("--falsify", first, one, falsify, _SAME_OPTIONS)
        _same("--baseline", first, one, (_baseline(first), _baseline(one)), _SAME_OPTIONS)
    # 4
    _refuse_judged_twice(parts)
    for one in others:
        _refuse_other_split(first, one)


def _kind(part: Part) -> str:
    return part.record.environment.kind if part.record.environment else "none"


def _baseline(part: Part) -> str:
    return part.ending.baseline.attestation if part.ending.baseline else "none"


def _same(rule: str, first: Part, one: Part, values: tuple[object, object], advice: str) -> None:
    if values[0] != values[1]:
        _refuse(one, f"{rule}: got {values[1]}, expected {values[0]} as in {first.bundle}", advice)


def _refuse(one: Part, message: str, advice: str) -> NoReturn:
    raise BadInputError(f"{one.bundle}: {message}; {advice}")


def _refuse_twice(parts: Sequence[Part]) -> None:
    seen: dict[Digest, Part] = {}
    for one in parts:
        digest = one.record.attestation
        if digest in seen:
            message = f"bundle: got it twice, also as {seen[digest].bundle}, expected it once"
            _refuse(one, message, "name each bundle once")
        seen[digest] = one


def _refuse_other_subject(first: Part, one: Part) -> None:
    mine, theirs = first.record.bindings, one.record.bindings
    checkout = "check the same commit out on all machines"
    _same("commit", first, one, (mine.commit or "none", theirs.commit or "none"), checkout)
    _same("git tree", first, one, (mine.tree or "none", theirs.tree or "none"), checkout)
    _same("changes since the commit", first, one, (mine.dirty, theirs.dirty), checkout)
    catalogue = first.predicate.catalogue_digest, one.predicate.catalogue_digest
    _same("catalogue", first, one, catalogue, checkout)
    _same("description", first, one, (mine.sut, theirs.sut), checkout)
    _same("files of the system", first, one, (mine.system, theirs.system), checkout)
    _refuse_other_files(first, one)
    install = "install the same packages on all machines"
    for name in sorted({*mine.versions, *theirs.versions}):
        versions = mine.versions.get(name, "none"), theirs.versions.get(name, "none")
        _same(f"version of {name}", first, one, versions, install)
    for name in sorted({*mine.images} & {*theirs.images}):
        _same(f"image {name}", first, one, (mine.images[name], theirs.images[name]), install)
    waivers = first.digests.get(WAIVERS), one.digests.get(WAIVERS)
    _same("waivers", first, one, waivers, "run all shards with the same waivers")


def _refuse_other_files(first: Part, one: Part) -> None:
    """Refuse other files that decide what is judged and by which rules."""
    mine, theirs = _judging(first.record.bindings.bound), _judging(one.record.bindings.bound)
    for title in dict.fromkeys((*mine, *theirs)):
        values = _state(mine.get(title)), _state(theirs.get(title))
        _same(f"bound files: {title}", first, one, values, _SAME_FILES)


def _refuse_other_code(parts: Sequence[Part]) -> None:
    """Refuse plugins and other code of one name and two contents.

    A shard may load some that the others do not load: it imports what its own checks import.
    """
    known: dict[str, tuple[Part, Bound]] = {}
    for one in parts:
        for bound in one.record.bindings.bound:
            first, before = known.setdefault(bound.title, (one, bound))
            if bound.part in LOADED:
                values = _state(before), _state(bound)
                _same(f"bound files: {bound.title}", first, one, values, _SAME_FILES)


def _judging(bound: Iterable[Bound]) -> Mapping[str, Bound]:
    return {one.title: one for one in bound if one.part not in LOADED}


def _state(bound: Bound | None) -> str:
    """Return the content of bound files, and whether it is that of a commit or a distribution."""
    if bound is None:
        return "none"
    return f"{bound.digest} ({bound.origin(None)}, {bound.changes()})"


def _refuse_judged_twice(parts: Sequence[Part]) -> None:
    numbers: dict[int, Part] = {}
    judged: dict[str, Part] = {}
    for one in parts:
        for name in one.judged:
            if name in judged:
                both = [each for each in one.judged if each in judged[name].judged]
                listed = f"{', '.join(both[:_FEW])}{', ...' if len(both) > _FEW else ''}"
                other = judged[name]
                message = f"criterion: {listed}: got verdicts of two bundles, also of "
                message += f"{other.bundle} ({other.shard}), expected one"
                _refuse(
                    one, message, "leave one of them out, or run all shards with the same files"
                )
            judged[name] = one
        if one.shard.number in numbers:
            message = f"{one.shard}: got two bundles, also {numbers[one.shard.number].bundle}"
            _refuse(one, f"{message}, expected one", "leave one of them out")
        numbers[one.shard.number] = one


def _refuse_other_split(first: Part, one: Part) -> None:
    """Refuse a shard that left other checks to the other shards than the first one did."""
    names = [
        name
        for name in dict.fromkeys((*first.checks, *one.checks))
        if _assigned(first, name) != _assigned(one, name)
    ]
    if names:
        name = names[0]
        _refuse(
            one,
            f"division into shards: {name} and {len(names) - 1} more: got shard "
            f"{_assigned(one, name)}, expected shard {_assigned(first, name)} as in {first.bundle}",
            "run all shards with the same --shard-durations and the same selection",
        )


def _assigned(part: Part, name: str) -> int | None:
    found = part.checks.get(name)
    return found.shard if found else None
