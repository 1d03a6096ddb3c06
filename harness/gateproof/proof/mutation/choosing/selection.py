"""The checks that run with a mutant: those that depend on what it changes.

For code this is what a bundle has recorded: a change of a function concerns the checks whose
processes ran it. Where not all that a check uses is known, only the known part counts: a mutant
then survives that a whole run might kill, and never the other way. Of the schema and of settings
nothing is recorded: they concern every check that works on a migrated database.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from gateproof.proof.mutation.choosing.unit import unit_at
from gateproof.proof.mutation.choosing.words import Words, words_of
from gateproof.proof.mutation.mutant import Candidate, Mutant
from gateproof.run.dependence.source import module_digests
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.layout import JOURNAL
from gateproof_evidence.judging.verdict import CHECK
from gateproof_evidence.model import RECORD, PhaseEvent
from gateproof_evidence.verification.earlier import Dependence, read_dependences

NEAR, SIMILAR, LIKELY, POSSIBLE, UNLIKELY = 0.7, 0.6, 0.3, 0.1, 0.02
"""Chances that a check kills a mutant, before anything is known of others like it."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The records of a bundle about its checks."""

    uses: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Criterion to the files, modules and functions that its check uses, see `Dependence.uses`."""
    durations_s: Mapping[str, float] = field(default_factory=dict)
    """Node id of a check to its time."""


def read_recorded(bundle: Path | None) -> Recorded:
    """Return what the checks of a bundle depended on and took; nothing without a bundle.

    Args:
        bundle: its folder or its ZIP archive; it is not verified, because nothing is concluded
            from it but an order.

    Raises:
        BadInputError: there is no bundle, or it has no journal.

    """
    if bundle is None:
        return Recorded()
    try:
        journal = open_source(bundle).read(JOURNAL)
    except (OSError, BadInputError) as error:
        raise BadInputError(
            f"{bundle}: --bundle: got no journal ({getattr(error, 'strerror', error)}), expected a "
            "bundle; run the gates first, or leave the option out to run every check"
        ) from error
    uses = _uses(read_dependences(journal))
    durations: dict[str, float] = {}
    for line in journal.splitlines():
        if b'"kind":"phase"' not in line:
            continue
        record = RECORD.validate_json(line)
        if isinstance(record, PhaseEvent) and record.part == CHECK and record.item:
            before = durations.get(record.item, 0.0)
            durations[record.item] = before + record.duration_s
    return Recorded(uses=uses, durations_s=durations)


def _uses(
    found: Mapping[tuple[str, str], Dependence],
) -> dict[str, frozenset[str]]:
    """Return what each check uses, as far as it is known.

    On the stack that checks share, all that ran there counts for each of them. The proofs of a
    check ran on copies of their own, as mutants do, so they show what the check uses itself.
    """
    by_criterion: dict[str, list[Dependence]] = defaultdict(list)
    for (criterion, falsifier), one in found.items():
        if falsifier:
            by_criterion[criterion].append(one)
    for (criterion, falsifier), one in found.items():
        if not falsifier and criterion not in by_criterion:
            by_criterion[criterion].append(one)
    return {
        criterion: frozenset(unit for one in members for unit in one.uses)
        for criterion, members in by_criterion.items()
    }


def checks_of(
    mutant: Mutant, text: str, candidates: Iterable[Candidate], recorded: Recorded
) -> tuple[str, ...]:
    """Return the node ids of the checks that depend on what a mutant changes.

    Args:
        mutant: the mutant.
        text: the text of its file, for a mutant of code.
        candidates: all checks that can judge the system.
        recorded: what the bundle has; a check that it does not have depends on everything.

    """
    if mutant.kind != "code":
        return tuple(one.item for one in candidates if one.stack)
    units = changed_units(mutant, text)
    return tuple(
        one.item
        for one in candidates
        if one.criterion not in recorded.uses or not units.isdisjoint(recorded.uses[one.criterion])
    )


def changed_units(mutant: Mutant, text: str) -> frozenset[str]:
    """Return the functions that a mutant of code changes, or the module outside of them.

    The names are those of `gateproof.run.dependence.source`. A process that only reads the file as
    text does not count: the test of an import in a proof does so.
    """
    changed = text[: mutant.start] + mutant.after + text[mutant.end :]
    before, after = (module_digests(one.encode()) for one in (text, changed))
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return frozenset(f"{mutant.file}:{name}" for name in names)


@dataclass(frozen=True, kw_only=True)
class Chances:
    """The chance that a check kills a mutant, before anything is known of others like it."""

    candidates: tuple[Candidate, ...]
    """All checks that can judge the system."""
    recorded: Recorded

    def of(self, candidate: Candidate, mutant: Mutant, text: str) -> float:
        """Return the chance.

        A check with a falsifier in the same function or variable judges what is there, one with a
        falsifier in the same file perhaps, and for the schema one with a falsifier in SQL. Of the
        others, one that uses little of the system has more to do with each part of it. Words in
        common with what is changed make each more likely, but never as likely as the first.

        Args:
            candidate: the check.
            mutant: the mutant.
            text: the text of its file, for a mutant of code.

        """
        if mutant.kind != "code":
            return POSSIBLE if mutant.kind == "schema" and "sql" in candidate.faults else UNLIKELY
        if (mutant.file, unit_at(text, mutant.start)) in candidate.units:
            return NEAR
        uses = self.recorded.uses.get(candidate.criterion)
        chance = min(LIKELY, 1 / math.sqrt(len(uses))) if uses else POSSIBLE
        if any(file == mutant.file for file, _ in candidate.units):
            chance = LIKELY
        common = self._words.in_common(_words(mutant, text), candidate.words)
        return chance + (SIMILAR - chance) * common

    @cached_property
    def _words(self) -> Words:
        return Words(one.words for one in self.candidates)


@lru_cache(maxsize=1)
def _words(mutant: Mutant, text: str) -> frozenset[str]:
    """Return the words of the lines that a mutant changes, and of the names around them."""
    first = text.rfind("\n", 0, mutant.start) + 1
    last = text.find("\n", mutant.end)
    lines = text[first : last if last >= 0 else len(text)]
    return words_of(lines, unit_at(text, mutant.start), Path(mutant.file).stem)
