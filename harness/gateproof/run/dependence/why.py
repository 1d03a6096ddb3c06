"""``gateproof why``: what a check or proof of a bundle depends on, and what has changed since.

Owns the comparison with the files as they are now. Starts nothing: the environment and the fault of
a proof are compared by the next run only.

Source: docs/decisions/0033-a-result-counts-until-something-that-it-uses-changes.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from gateproof.base.option import CATALOGUE, DEFAULT_SUT
from gateproof.description.gates import catalogue_of, folders_of_run
from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from gateproof.run.dependence.digest import ENVIRONMENT, FAULT, Dependencies
from gateproof.run.dependence.source import EVERYTHING
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.layout import JOURNAL, LATEST
from gateproof_evidence.model.text import many
from gateproof_evidence.verification.earlier import Dependence, read_dependences

CANDIDATES = ("sut.toml", DEFAULT_SUT)
"""The descriptions that are read without ``--sut``: the first that exists."""
UNKNOWN_HERE = (ENVIRONMENT, FAULT)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """All that one item depends on, and what of it has changed."""

    name: str
    """``CRITERION`` for a check, ``CRITERION:FALSIFIER`` for a proof."""
    dependence: Dependence
    changed: tuple[str, ...]
    """Parts of its frame, and files, modules and functions, that have another digest now."""

    def lines(self, *, full: bool) -> Iterator[str]:
        """Yield the answer in words.

        Args:
            full: whether everything that it uses is listed.

        """
        uses = self.dependence.uses
        kinds = Counter(_kind(unit) for unit in uses if unit != EVERYTHING)
        yield self.name
        listed = ", ".join(many(kinds[kind], kind) for kind in KINDS if kinds[kind])
        yield f"  uses of the system: {listed or 'nothing that is known'}"
        for reason in self.dependence.unknown:
            yield f"  and all its files: {reason}"
        yield f"  depends on: {', '.join(self.dependence.frame)}"
        if full:
            yield from (f"    {unit}" for unit in uses if unit != EVERYTHING)
        for one in self.changed:
            yield f"  changed since: {in_words(one)}"
        if self.changed:
            yield "  so it runs again with --changed"
        else:
            yield "  nothing has changed since, as far as can be seen without a run"


FUNCTION, MODULE, FILE = "function", "module", "file"
KINDS = (FUNCTION, MODULE, FILE)


def _kind(unit: str) -> str:
    _, colon, name = unit.partition(":")
    return FUNCTION if name else MODULE if colon else FILE


def in_words(unit: str) -> str:
    """Return the name of a file, module or function, or of a part of a frame, for people."""
    path, colon, name = unit.partition(":")
    if unit == EVERYTHING:
        return "a file of the system or its project"
    if not colon:
        return path
    return f"{path}, function {name}" if name else f"{path}, outside of its functions"


def answers(bundle: Path, description: Path, item: str) -> list[Answer]:
    """Return what an item of a bundle depends on; for a criterion, its check and all its proofs.

    Args:
        bundle: its folder; it is not verified.
        description: the ``sut.toml`` of the system as it is now.
        item: ``CRITERION`` or ``CRITERION:FALSIFIER``.

    Raises:
        BadInputError: the bundle has no such item, or no record of what items depend on.

    """
    journal = _read(bundle)
    found = read_dependences(journal)
    criterion, _, falsifier = item.partition(":")
    chosen = {
        key: one
        for key, one in found.items()
        if key[0] == criterion and (not falsifier or key[1] == falsifier)
    }
    if not chosen:
        known = ", ".join(sorted({name for name, _ in found})[:8]) or "no item"
        raise BadInputError(
            f"{bundle}: item: got {item}, expected the id of a criterion that ran there, alone or "
            f"with the name of a falsifier after a colon: {known}, ...; gateproof show --proofs "
            "lists them"
        )
    root = Path.cwd()
    now = _dependencies_now(load_sut(description), root / _module_of(next(iter(chosen.values()))))
    return [
        Answer(
            name=":".join(filter(None, key)),
            dependence=one,
            changed=(
                *_changed_parts(now, one, key[0], root),
                *now.sources.changed(one.uses),
            ),
        )
        for key, one in sorted(chosen.items())
    ]


def _dependencies_now(sut: Sut, module: Path) -> Dependencies:
    """Return the digests of the files as they are now.

    Raises:
        BadInputError: the folders above the check have no catalogue, or it is not valid.

    """
    named = next((one for one in module.parents if (one / CATALOGUE).is_file()), None)
    if named is None:
        raise BadInputError(
            f"{module}: got no {CATALOGUE} in the folders above it, expected that of the check; "
            "run gateproof why in the folder in which the gates run"
        )
    folders = folders_of_run(sut, named)
    return Dependencies(sut, catalogue_of(sut, folders), folders)


def _module_of(one: Dependence) -> str:
    return one.item.partition("::")[0]


def _changed_parts(now: Dependencies, one: Dependence, criterion: str, root: Path) -> list[str]:
    module = root / _module_of(one)
    if not module.is_file():
        return ["code of the check"]
    frame = now.frame(module, criterion)
    return [
        name
        for name, before in one.frame.items()
        if name not in UNKNOWN_HERE and frame.get(name) != before
    ]


def _read(bundle: Path) -> bytes:
    try:
        return open_source(bundle).read(JOURNAL)
    except OSError as error:
        raise BadInputError(
            f"{bundle}: got no journal ({error.strerror}), expected the folder of a bundle; name "
            "it with --bundle"
        ) from error


@click.command()
@click.argument("item")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    default=Path("reports") / LATEST,
    show_default=True,
    help="The bundle with the item.",
)
@click.option(
    "--sut",
    type=click.Path(path_type=Path),
    help=f"The description of the system (default: {' or '.join(CANDIDATES)}).",
)
@click.option("--full", is_flag=True, help="List every file, module and function that it uses.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def why(item: str, bundle: Path, sut: Path | None, *, full: bool, as_json: bool) -> None:
    """Show what ITEM depends on, and what has changed since the bundle.

    ITEM is a criterion, such as RLS-01, for its check and all its proofs, or a criterion and a
    falsifier, such as RLS-01:drop-policies. Run it in the folder in which the gates run.
    """
    path = sut or next((Path(one) for one in CANDIDATES if Path(one).is_file()), Path(DEFAULT_SUT))
    found = answers(bundle, path.absolute(), item)
    if as_json:
        rows = [
            {
                "item": one.name,
                "frame": dict(one.dependence.frame),
                "uses": dict(one.dependence.uses),
                "unknown": list(one.dependence.unknown),
                "changed": list(one.changed),
            }
            for one in found
        ]
        click.echo(json.dumps({"items": rows}, indent=2))
        return
    for one in found:
        click.echo("\n".join(one.lines(full=full)))
