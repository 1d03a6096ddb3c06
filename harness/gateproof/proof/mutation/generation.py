"""Makes the mutants of code and of settings, and draws a sample of mutants.

Owns which files are mutated: the sources of the description, without gates, tests and migrations,
whose result the mutants of the schema change.
"""

from __future__ import annotations

import difflib
import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gateproof.description.sut import Sut
from gateproof.proof.mutation.code.bytecode import same_bytecode
from gateproof.proof.mutation.code.edit import Edit
from gateproof.proof.mutation.code.edits import edits_of
from gateproof.proof.mutation.mutant import KINDS, Kind, Mutant

_REVISION = re.compile(r"^(down_revision\b|class Migration\()", re.MULTILINE)
"""The beginning of a line that a revision of Alembic or a migration of Django has."""
_ENVIRONMENT = "env.py"
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_SWITCHES = {"true": "false", "false": "true", "yes": "no", "no": "yes", "on": "off", "off": "on"}


def files_to_mutate(sut: Sut, gates: Iterable[Path]) -> list[str]:
    """Return the files of code to mutate, as paths from the root of the system."""
    tops = [sut.folder / source for source in sut.sources]
    found = sorted({path for top in tops for path in _python_files(top)})
    kept = [path for path in found if not _is_test(path.relative_to(sut.folder))]
    apart = [*gates, *_migrations(kept, sut.folder)]
    return [
        path.relative_to(sut.folder).as_posix()
        for path in kept
        if not any(path.is_relative_to(folder) for folder in apart)
    ]


def code_mutants(text: str, file: str) -> Iterator[Mutant]:
    """Yield the mutants of one file.

    Args:
        text: its content.
        file: its path from the folder of the system.

    Raises:
        BadInputError: an exclusion in a comment has no reason.

    """
    seen: dict[str, int] = {}
    for edit in edits_of(text):
        key = f"code:{edit.operator}:{file}:{edit.function}:{_digest_of(text, edit)}"
        seen[key] = seen.get(key, 0) + 1
        changed = edit.apply(text)
        yield Mutant(
            id=key if seen[key] == 1 else f"{key}-{seen[key]}",
            kind="code",
            operator=edit.operator,
            where=f"{file}:{edit.line}",
            change=_diff(text, changed, file),
            excluded=edit.excluded,
            file=file,
            function=edit.function,
            start=edit.start,
            end=edit.end,
            after=edit.after,
        )


def is_equivalent(mutant: Mutant, text: str) -> bool:
    """Return whether Python compiles the same code with a mutant."""
    changed = text[: mutant.start] + mutant.after + text[mutant.end :]
    return same_bytecode(text, changed)


def setting_mutants(sut: Sut) -> list[Mutant]:
    """Return the mutants of the variables that the description gives to the system's processes."""
    given = [(name, operator, value) for name, operator, value in _named_variables(sut)]
    env = dict(sut.env)
    for process in sut.process if sut.describes("process") else ():
        env |= process.env
    given += [
        (name, operator, other)
        for name, value in env.items()
        if "{" not in value
        for operator, other in _other_values(value)
    ]
    return [
        Mutant(
            id=f"setting:{operator}:{name}",
            kind="setting",
            operator=operator,
            where=name,
            change=f"{name}={value}",
            variables=((name, value),),
        )
        for name, operator, value in sorted(set(given))
    ]


def draw(
    mutants: Iterable[Mutant], *, sample: int | None, seed: str, kinds: Sequence[Kind] = KINDS
) -> list[Mutant]:
    """Return a sample of mutants, shared equally among kinds, and within a kind among operators.

    Without this, the operators with most places would leave no room for the others.

    Args:
        mutants: all of them.
        sample: how many are drawn; None for all.
        seed: the same seed draws the same sample from the same mutants.
        kinds: the kinds that count.

    """
    chosen = sorted((one for one in mutants if one.kind in kinds), key=lambda one: one.id)
    if sample is None or sample >= len(chosen):
        return chosen
    by_kind: dict[str, list[Mutant]] = defaultdict(list)
    for one in chosen:
        by_kind[one.kind].append(one)
    orders = [_in_turn(by_kind[kind], "operator", seed) for kind in KINDS if by_kind[kind]]
    return sorted(_take(orders, sample), key=lambda one: one.id)


def _in_turn(mutants: list[Mutant], field: str, seed: str) -> list[Mutant]:
    """Return mutants in an order in which each value of a field has its turn."""
    groups: dict[str, list[Mutant]] = defaultdict(list)
    for one in mutants:
        groups[getattr(one, field)].append(one)
    for name, group in groups.items():
        random.Random(f"{seed}:{name}").shuffle(group)  # noqa: S311 (a sample, no secret)
    return _take([groups[name] for name in sorted(groups)], len(mutants))


def _take(orders: Iterable[list[Mutant]], count: int) -> list[Mutant]:
    """Take from several lists in turn until there are enough, or all are empty."""
    queues = [list(reversed(one)) for one in orders]
    taken: list[Mutant] = []
    while len(taken) < count and any(queues):
        for queue in queues:
            if queue and len(taken) < count:
                taken.append(queue.pop())
    return taken


def _named_variables(sut: Sut) -> Iterator[tuple[str, str, str]]:
    """Yield variables that the description names, each with a value that breaks a promise."""
    for key, operator, value in (
        ("worker.eager", "eager-tasks", "1"),
        ("broker.lease_env", "longer-lease", "3600"),
        ("broker.max_deliveries_env", "fewer-deliveries", "1"),
        ("broker.max_deliveries_env", "more-deliveries", "1000"),
    ):
        name = sut.value_of(key) if sut.describes(key) else ""
        if isinstance(name, str) and name:
            yield name, operator, value


def _other_values(value: str) -> Iterator[tuple[str, str]]:
    yield "empty-setting", ""
    if value.lower() in _SWITCHES:
        yield "switched-setting", _SWITCHES[value.lower()]
    elif _NUMBER.fullmatch(value):
        yield "larger-setting", str(float(value) * 10).removesuffix(".0")
        yield "zero-setting", "0"


def _python_files(top: Path) -> Iterator[Path]:
    if top.is_file():
        yield from (top,) if top.suffix == ".py" else ()
    else:
        yield from top.rglob("*.py")


def _is_test(path: Path) -> bool:
    folders = {"tests", "test"} & set(path.parts[:-1])
    return bool(folders) or path.name.startswith(("test_", "conftest"))


def _migrations(files: Iterable[Path], root: Path) -> set[Path]:
    """Return the folders of migrations: of revisions, or above them where Alembic's `env.py` is."""
    found: set[Path] = set()
    for path in files:
        if _REVISION.search(path.read_text(encoding="utf-8", errors="replace")):
            above = [one for one in path.parents if one.is_relative_to(root) and one != root]
            found.add(next((one for one in above if (one / _ENVIRONMENT).is_file()), path.parent))
    return found


def _digest_of(text: str, edit: Edit) -> str:
    """Return a short digest of an edit that does not change when other lines do."""
    first = text.rfind("\n", 0, edit.start) + 1
    last = text.find("\n", edit.end)
    line = text[first : last if last >= 0 else len(text)].strip()
    return hashlib.sha256(f"{line}\0{edit.before(text)}\0{edit.after}".encode()).hexdigest()[:8]


def _diff(before: str, after: str, file: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), file, file, n=1, lineterm=""
    )
    return "\n".join(lines)
