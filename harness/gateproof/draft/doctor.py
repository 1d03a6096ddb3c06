"""``gateproof doctor``: what a description can judge, and which key would unlock the rest.

Reads the description, the catalogues of its gates, and the needs that checks declare, from their
source: it imports no check and starts nothing. Reads the system's own falsifiers too, and refuses
those that cannot apply. Leaves the rules of needs to `gateproof.description.need`.

Source: docs/decisions/0021-a-description-of-features.md.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gateproof.base.option import DEFAULT_SUT
from gateproof.base.skip import NotApplicableError
from gateproof.description.celery import STARTED_BROKER
from gateproof.description.gates import (
    PACKS,
    catalogue_of,
    described_folders,
    folders_of_run,
    pack_folder,
)
from gateproof.description.key import example_of, meaning_of
from gateproof.description.need import Need, parse_needs, refuse_unknown_criteria, unmet
from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from gateproof.faults.described.file import load_falsifiers, refuse_changes_without_a_place
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.model.text import many

JUDGEABLE, NOTAPPLICABLE, NOTDESCRIBED, UNKNOWN = (
    "judgeable",
    "notapplicable",
    "notdescribed",
    "unknown",
)
WORDS = {
    JUDGEABLE: "judgeable",
    NOTAPPLICABLE: "not applicable",
    NOTDESCRIBED: "not described",
    UNKNOWN: "unknown",
}
"""Whether a criterion can be judged, in files and as people read it."""
RUN_TASKS = ("ping", "task")
"""Features of which a criterion that needs one starts a worker or a publisher."""
CANDIDATES = ("sut.toml", DEFAULT_SUT)
"""The descriptions that are read without ``--sut``: the first that exists."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Whether one criterion can be judged on the described system."""

    id: str
    gate: str
    status: str
    """A key of `WORDS`."""
    needs: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """The keys that would unlock it."""
    reason: str = ""
    """Why it does not apply, or why its needs are not known."""


def diagnose(sut: Sut) -> tuple[Diagnosis, ...]:
    """Return the diagnosis of every criterion of the described gates, in catalogue order.

    A description without the key `gates` is compared with the packs of this version.

    Raises:
        BadInputError: a folder of gates has no valid catalogue, or a check a need that no
            description can have; or the system's own falsifiers are not valid.

    """
    described = described_folders(sut)
    named = folders_of_run(sut, described[0]) if described else tuple(map(pack_folder, PACKS))
    catalogue = catalogue_of(sut, named)
    refuse_unknown_criteria(sut, catalogue.ids)
    own = load_falsifiers(sut)
    if described:
        own.refuse_unknown_criteria(catalogue.ids)
    refuse_changes_without_a_place(sut, own)
    declared: dict[str, tuple[Need, ...] | None] = {}
    for folder in named:
        declared |= dict(_declared(folder))
    return tuple(_diagnose(sut, one.id, one.gate, declared) for one in catalogue.criteria)


@click.command()
@click.option(
    "--sut",
    "named",
    type=click.Path(path_type=Path),
    help=f"The description; without it, the first of {' and '.join(CANDIDATES)} that exists.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, named: Path | None, as_json: bool) -> None:
    """List what a description can judge, and the keys that would unlock the rest.

    Starts nothing, and imports neither the system nor a check. The exit status is 0 if the
    description is valid, however little it can judge, and 4 if it is not.
    """
    sut = load_sut(named or _candidate())
    found = diagnose(sut)
    if as_json:
        click.echo(json.dumps(_as_json(sut, found), indent=2, ensure_ascii=False))
        return
    for line in _lines(sut, found):
        click.echo(line)


def _candidate() -> Path:
    found = [Path(one) for one in CANDIDATES if Path(one).is_file()]
    if not found:
        raise BadInputError(
            f"--sut: got none, and no {' or '.join(CANDIDATES)} here, expected a description; name "
            "it with --sut"
        )
    return found[0]


def _diagnose(
    sut: Sut, criterion: str, gate: str, declared: Mapping[str, tuple[Need, ...] | None]
) -> Diagnosis:
    needs = declared.get(criterion)
    left_out = unmet(sut, criterion, ())
    if left_out is not None:
        return Diagnosis(id=criterion, gate=gate, status=NOTAPPLICABLE, reason=str(left_out))
    if needs is None:
        known = "its needs are not literals" if criterion in declared else "no check judges it"
        return Diagnosis(id=criterion, gate=gate, status=UNKNOWN, reason=known)
    texts = tuple(str(need) for need in needs)
    problem = unmet(sut, criterion, needs)
    if problem is None:
        return Diagnosis(id=criterion, gate=gate, status=JUDGEABLE, needs=texts)
    if isinstance(problem, NotApplicableError):
        return Diagnosis(
            id=criterion, gate=gate, status=NOTAPPLICABLE, needs=texts, reason=str(problem)
        )
    missing = tuple(need.key for need in needs if not need.is_met(sut))
    return Diagnosis(id=criterion, gate=gate, status=NOTDESCRIBED, needs=texts, missing=missing)


# --- the needs of checks, from their source --------------------------------------------------


def _declared(folder: Path) -> Iterator[tuple[str, tuple[Need, ...] | None]]:
    """Yield each criterion that a check names, and its needs; None if they are no literals."""
    for path in sorted(folder.rglob("*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, SyntaxError) as error:
            raise BadInputError(f"{path}: check: cannot be read as Python ({error})") from error
        constants = _constants(tree)
        for mark in _marks(tree):
            try:
                name = str(_literal(mark.args[0], constants))
                needs = parse_needs(_needs(mark, constants))
            except ValueError:
                yield ast.unparse(mark.args[0]).strip("'\""), None
            except BadInputError as error:
                raise BadInputError(f"{path}:{mark.lineno}: {error}") from error
            else:
                yield name, needs


def _marks(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and mark.args and _name(mark.func) == "criterion":
                    yield mark


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _constants(tree: ast.Module) -> Mapping[str, ast.expr]:
    """Return the values of the names that a module assigns once at its top."""
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
    return found


def _needs(mark: ast.Call, constants: Mapping[str, ast.expr]) -> Any:
    given = [one.value for one in mark.keywords if one.arg == "needs"]
    return _literal(given[0], constants) if given else ()


def _literal(node: ast.expr, constants: Mapping[str, ast.expr]) -> Any:
    if isinstance(node, ast.Name) and node.id in constants:
        node = constants[node.id]
    return ast.literal_eval(node)


# --- output ----------------------------------------------------------------------------------


def _as_json(sut: Sut, found: Iterable[Diagnosis]) -> dict[str, Any]:
    found = tuple(found)
    return {
        "ok": True,
        "name": sut.name,
        "sut": str(sut.path),
        "criteria": [vars(one) for one in found],
        "unlocks": [
            {
                "key": key,
                "meaning": meaning_of(Sut, key),
                "example": example_of(Sut, key),
                "criteria": list(criteria),
                "alone": [one.id for one in found if one.missing == (key,)],
            }
            for key, criteria in unlocks(found)
        ],
        "absent": [one.model_dump() for one in sut.absences],
        "expired": [one.model_dump() for one in sut.expired_absences],
        "left_out": [one.model_dump() for one in sut.left_out_now],
    }


def _broker_warning(sut: Sut, found: Iterable[Diagnosis]) -> Iterator[str]:
    """Yield a line about criteria that run tasks, if this version cannot start the broker."""
    kind = sut.broker.kind if sut.describes("broker") else STARTED_BROKER
    if kind != STARTED_BROKER:
        running = [
            one.id
            for one in found
            if one.status == JUDGEABLE
            and any(need.partition(".")[0] in RUN_TASKS for need in one.needs)
        ]
        yield (
            f"WARNING: broker.kind: got {kind}, expected {STARTED_BROKER}: this version starts no "
            f"other broker. Criteria that run tasks cannot be judged: {', '.join(running)}"
        )


def unlocks(found: Iterable[Diagnosis]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the missing keys, each with the criteria that need it, the most needed first."""
    waiting: dict[str, list[str]] = {}
    for one in found:
        for key in one.missing:
            waiting.setdefault(key, []).append(one.id)
    pairs = [(key, tuple(criteria)) for key, criteria in waiting.items()]
    return sorted(pairs, key=lambda pair: -len(pair[1]))


def _lines(sut: Sut, found: tuple[Diagnosis, ...]) -> Iterator[str]:
    counts = {status: sum(one.status == status for one in found) for status in WORDS}
    parts = ", ".join(f"{count} {WORDS[name]}" for name, count in counts.items() if count)
    yield f"{sut.name} ({sut.path}): {many(len(found), 'criterion', 'criteria')}: {parts or 'none'}"
    for one in sut.expired_absences:
        yield f"WARNING: absent: {one.feature}: expired on {one.expires}: it counts as not declared"
    for late in sut.expired_left_out:
        yield f"WARNING: left_out: {late.criterion}: expired on {late.expires}: it is judged"
    for other in sut.expired_replaced:
        why = "the check of its pack judges it"
        yield f"WARNING: replaced: {other.criterion}: expired on {other.expires}: {why}"
    yield from _broker_warning(sut, found)
    yield ""
    width = max((len(one.id) for one in found), default=0)
    for diagnosis in found:
        more = diagnosis.reason or ", ".join(diagnosis.missing)
        line = f"{diagnosis.id:<{width}}  {WORDS[diagnosis.status]:<14}  {more}"
        yield line.rstrip()
    waiting = unlocks(found)
    if waiting:
        yield ""
        yield "Describe these keys, or declare them in [[absent]] with reason, owner and expires:"
    for key, criteria in waiting:
        alone = sum(one.missing == (key,) for one in found)
        yield ""
        yield (
            f"{key}: {meaning_of(Sut, key)}. Needed by "
            f"{many(len(criteria), 'criterion', 'criteria')}; for {alone} of them it is all that "
            "is missing."
        )
        yield from (f"    {line}" for line in example_of(Sut, key).splitlines())
