"""Reading a ``falsifiers.toml``: strict, and with all findings at once.

Owns what is refused and the words for it. Leaves the keys to `gateproof.faults.described.entry`.

Source: docs/decisions/0023-the-system-s-own-falsifiers-are-data.md.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateproof.base.errors import HarnessError
from gateproof.description.key import nearest
from gateproof.description.reading import findings, neighbours, tuples
from gateproof.description.sut import Sut
from gateproof.faults.code.file import FileFault
from gateproof.faults.code.migration import MigrationFault
from gateproof.faults.code.source import SourceFault
from gateproof.faults.described.entry import KINDS, Content, Entry, Expected
from gateproof.faults.falsifier import Falsifier, too_general
from gateproof.faults.interface import Fault
from gateproof_evidence.errors import BadInputError

PAGE = "docs/reference/falsifiers.md"


@dataclass(frozen=True, kw_only=True)
class OwnFalsifiers:
    """The falsifiers that a system has of its own."""

    path: Path | None = None
    """The file that they are from; None if the system has none."""
    by_criterion: Mapping[str, tuple[Falsifier, ...]] = field(default_factory=dict)

    def of(self, criterion: str) -> tuple[Falsifier, ...]:
        """Return the falsifiers of a criterion, in the order of the file."""
        return self.by_criterion.get(criterion, ())

    def refuse_unknown_criteria(self, known: Collection[str]) -> None:
        """Check that every criterion of the file is one of these.

        Raises:
            BadInputError: one is not; the message has each with the nearest ids.

        """
        unknown = [
            f"criterion: got {one}, expected an id of the catalogue such as "
            f"{nearest(one, known)}; correct it or remove its falsifiers"
            for one in self.by_criterion
            if one not in known
        ]
        if self.path is not None and unknown:
            raise findings(self.path, unknown, PAGE)


def load_falsifiers(sut: Sut) -> OwnFalsifiers:
    """Read and check the falsifiers next to a description; there may be no such file.

    Raises:
        BadInputError: the file cannot be read, is not TOML, has an unknown key or kind or a wrong
            type, names a falsifier twice, or has a change or a prediction that means nothing. The
            message has every finding.

    """
    path = sut.falsifiers
    if not path.is_file():
        return OwnFalsifiers()
    entries = _entries(path, _read(path))
    made: dict[str, tuple[Falsifier, ...]] = {}
    found = list(_twice(entries))
    for nth, entry in enumerate(entries, start=1):
        try:
            one = entry.falsifier()
        except BadInputError as error:
            found.append(f"{_title(nth, entry.criterion, entry.name)}: {error}")
            continue
        problem = too_general(one)
        if problem:
            found.append(f"{_title(nth, entry.criterion, entry.name)}: {problem}")
        made[entry.criterion] = (*made.get(entry.criterion, ()), one)
    if found:
        raise findings(path, found, PAGE)
    return OwnFalsifiers(path=path, by_criterion=made)


def refuse_changes_without_a_place(sut: Sut, own: OwnFalsifiers) -> None:
    """Check that every change to a file applies exactly once to the present files.

    A run does not check this: there, such a proof is void, and the others count.

    Raises:
        BadInputError: one does not. The message has every finding.

    """
    found = [
        f"{criterion} {one.fault.name}: {problem}"
        for criterion, falsifiers in own.by_criterion.items()
        for one in falsifiers
        if (problem := _misplaced(sut, one.fault))
    ]
    if own.path is not None and found:
        raise findings(own.path, found, PAGE)


def _misplaced(sut: Sut, fault: Fault) -> str:
    """Return why a fault cannot change its file; empty if it can, or changes none."""
    if not isinstance(fault, SourceFault | MigrationFault | FileFault):
        return ""
    path = sut.folder / fault.file
    if not path.is_file():
        return f"file: got {fault.file}, expected a file such as {neighbours(path)}; correct it"
    try:
        fault.change.apply(path.read_text(encoding="utf-8"))
    except (HarnessError, OSError, UnicodeDecodeError, SyntaxError) as error:
        return f"{fault.file}: {error}; quote the present text"
    return ""


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(
            f"{path}: falsifiers: cannot be read ({error.strerror}); make it readable or remove it"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: falsifiers: is not valid TOML ({error})") from error


def _entries(path: Path, content: dict[str, Any]) -> tuple[Entry, ...]:
    try:
        return Content.model_validate(tuples(content)).falsifier
    except ValidationError as error:
        listed = content.get("falsifier")
        raw = listed if isinstance(listed, list) else []
        found = [_describe(one, raw) for one in error.errors(include_url=False)]
        raise findings(path, found, PAGE) from None


def _twice(entries: tuple[Entry, ...]) -> Iterator[str]:
    names = Counter((one.criterion, one.name) for one in entries)
    for (criterion, name), count in names.items():
        if count > 1:
            yield f"{criterion} {name}: got {count} falsifiers of this name, expected one"


def _title(nth: int, criterion: object, name: object) -> str:
    return f"falsifier {nth} ({criterion} {name})"


# --- what the model refuses ------------------------------------------------------------------


def _describe(error: Any, raw: list[Any]) -> str:
    """Return a finding of the model in words.

    Args:
        error: the finding; its place is the list, the number of the entry, its kind and the key.
        raw: the entries as they were read.

    """
    place = list(error["loc"])
    if len(place) < 2 or not isinstance(place[1], int):
        return _describe_key(error, ".".join(map(str, place)), list(Content.model_fields))
    entry = raw[place[1]] if isinstance(raw[place[1]], dict) else {}
    title = _title(place[1] + 1, entry.get("criterion"), entry.get("name"))
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        got = entry.get("kind", "none")
        return f"{title}: kind: got {got}, expected {' or '.join(KINDS)}"
    keys = [str(one) for one in place[3:]]
    model = Expected if keys[:1] == ["expect"] and len(keys) > 1 else KINDS.get(str(place[2]))
    known = list(model.model_fields) if model is not None else []
    return f"{title}: {_describe_key(error, '.'.join(keys) or 'value', known)}"


def _describe_key(error: Any, key: str, known: list[str]) -> str:
    if error["type"] == "extra_forbidden":
        name = key.rpartition(".")[2]
        return f"{key}: unknown key, expected {nearest(name, known)}; correct or remove it"
    if error["type"] == "missing":
        return f"{key}: missing key; add it"
    return f"{key}: got {error['input']!r}, expected: {error['msg']}"
