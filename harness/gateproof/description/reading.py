"""Reading a ``sut.toml``: strict, and with all findings at once.

Owns what is refused and the words for it. Leaves the model to `gateproof.description.sut`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateproof.base.project import project_files
from gateproof.description.celery import PROBE_PING, PROBE_PREFIX
from gateproof.description.key import (
    all_keys,
    example_of,
    find_field,
    meaning_of,
    nearest,
    renames_for,
    section_in,
)
from gateproof.description.process import Process, Request
from gateproof.description.section import UNDESCRIBED, Section
from gateproof.description.sut import Sut
from gateproof_evidence.errors import BadInputError

PAGE = "docs/reference/sut.md"
ORDER = "order"
"""The key of ``[phases]`` that lists the phases."""
_BUNDLES = ("reports",)
"""Folders that a run writes into its own project by default."""


def load_sut(path: Path, *, today: dt.date | None = None) -> Sut:
    """Read and check a ``sut.toml``.

    Args:
        path: the file.
        today: the UTC day on which statements of absence are judged; by default, the present one.

    Raises:
        BadInputError: the file cannot be read, is not TOML, is of version 1, has an unknown key or
            a wrong type, contradicts itself, or names a file or command that does not exist. The
            message has every finding.

    """
    raw, content = _read(path)
    renames = renames_for(content)
    if renames or content.get("version", 2) == 1:
        _refuse(path, "a description of version 1", [*renames, "version -> 2, or leave it out"])
    _supply_ping(content)
    try:
        sut = Sut.model_validate(tuples(content))
    except ValidationError as error:
        raise findings(path, [_describe(one) for one in error.errors(include_url=False)]) from None
    place = path.resolve()
    sut.locate(
        place,
        digest=f"sha256:{hashlib.sha256(raw).hexdigest()}",
        today=today or dt.datetime.now(dt.UTC).date(),
    )
    if not sut.sources:
        sut.__dict__["sources"] = _own_files(sut.folder)
    found = [*_contradictions(sut), *_missing_files(sut)]
    if found:
        raise findings(path, found)
    return sut


def _supply_ping(content: dict[str, Any]) -> None:
    """Add the section `ping` for the probe tasks, unless the description has its own."""
    worker = content.get("worker")
    if isinstance(worker, dict) and worker.get("probe") == "inject":
        content.setdefault("ping", dict(PROBE_PING))


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        raw = path.read_bytes()
        return raw, tomllib.loads(raw.decode("utf-8"))
    except OSError as error:
        raise BadInputError(
            f"{path}: sut file: cannot be read ({error.strerror}); name another with --sut"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: sut file: is not valid TOML ({error})") from error


def _refuse(path: Path, what: str, renames: list[str]) -> None:
    lines = "".join(f"\n  {one}" for one in renames)
    raise BadInputError(
        f"{path}: sut file: got {what}, expected version 2; rename these keys, see {PAGE}:{lines}"
    )


def findings(path: Path, found: Sequence[str], page: str = PAGE) -> BadInputError:
    """Return the error for findings in a file: one in one line, several in a line each.

    Args:
        path: the file.
        found: the findings, at least one.
        page: the page that describes the file.

    """
    if len(found) == 1:
        return BadInputError(f"{path}: {found[0]}; see {page}")
    lines = "".join(f"\n  {one}" for one in found)
    return BadInputError(f"{path}: got {len(found)} findings, expected none; see {page}:{lines}")


def tuples(value: Any) -> Any:
    """Turn the arrays of TOML into tuples, which the strict model requires."""
    if isinstance(value, dict):
        return {key: tuples(inner) for key, inner in value.items()}
    return tuple(tuples(inner) for inner in value) if isinstance(value, list) else value


# --- what the model refuses ------------------------------------------------------------------


def _describe(error: Any) -> str:
    place = [str(part) for part in error["loc"]]
    key = ".".join(place)
    if error["type"] == "extra_forbidden":
        known = _known_at(place[:-1])
        return f"{key}: unknown key, expected {nearest(place[-1], known)}; correct or remove it"
    if error["type"] == "missing":
        named = ".".join(part for part in place if not part.isdigit())
        meaning = meaning_of(Sut, named) or meaning_of(Sut, _dropped_name(place))
        example = (example_of(Sut, named) or example_of(Sut, _dropped_name(place))).splitlines()
        return f"{key}: missing key ({meaning}); add it, for example {example[-1]}"
    return f"{key}: got {error['input']!r}, expected: {error['msg']}"


def _known_at(place: list[str]) -> list[str]:
    model: type[Section] | None = Sut
    for name in place:
        if model is None:
            return []
        if name in model.model_fields:
            model = section_in(model.model_fields[name].annotation)
    return list(model.model_fields) if model is not None else []


def _dropped_name(place: list[str]) -> str:
    """Return a key without the name that the file chose, such as that of a task."""
    return ".".join(place[:1] + place[2:])


# --- what contradicts itself -----------------------------------------------------------------


def _contradictions(sut: Sut) -> Iterator[str]:
    yield from _absences(sut)
    worker = sut.value_of("worker")
    if worker is not UNDESCRIBED:
        unknown = [one for one in worker.secrets if one not in {**worker.env, **sut.env}]
        if unknown:
            yield (
                f"worker.secrets: got {', '.join(unknown)}, expected names of variables in "
                "[worker.env] or env; correct the names or remove them"
            )
        if not sut.injects_probe and any("{probe}" in word for word in worker.command):
            yield (
                'worker.command: got {probe} without probe, expected probe = "inject" in [worker] '
                "too; add it, or take the option out of the command"
            )
    yield from _tasks(sut)
    yield from _processes(sut)
    phases = sut.value_of("phases")
    if phases is not UNDESCRIBED and set(phases.get(ORDER, ())) != set(phases) - {ORDER}:
        yield (
            f"phases.order: got {', '.join(phases.get(ORDER, ())) or 'none'}, expected each phase "
            f"once: {', '.join(sorted(set(phases) - {ORDER}))}"
        )


def _absences(sut: Sut) -> Iterator[str]:
    for one in sut.absent:
        if find_field(Sut, one.feature.split(".")) is None:
            known = nearest(one.feature, all_keys(Sut))
            yield f"absent: feature: got {one.feature}, expected a key such as {known}; correct it"
        elif one in sut.absences and _is_described(sut, one.feature):
            yield (
                f"absent: feature: {one.feature} is declared absent and described; remove the "
                "statement or the description"
            )


def _is_described(sut: Sut, feature: str) -> bool:
    """Return whether the file has a key; a column without a mapping is there by its name alone."""
    if sut.value_of(feature) is UNDESCRIBED:
        return False
    place, _, name = feature.rpartition(".")
    table = sut.value_of(place) if place else UNDESCRIBED
    return not isinstance(table, dict) or name in table


def _tasks(sut: Sut) -> Iterator[str]:
    tasks, ping = sut.value_of("task"), sut.value_of("ping")
    if UNDESCRIBED in (tasks, ping) or _is_probe(sut, ping.task):
        return
    if ping.task not in tasks:
        yield (
            f"ping.task: got {ping.task}, expected a described task such as "
            f"{nearest(ping.task, tasks)}; correct the name or add the task"
        )
    elif tasks[ping.task].never:
        yield f"ping.task: got {ping.task}, which must never be published; name another task"


PARTS = ("database", "worker")
"""The parts of every system that a process may need, next to its services."""


def _processes(sut: Sut) -> Iterator[str]:
    names = [one.name for one in sut.processes]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"process: name: got {name} {names.count(name)} times, expected each name once"
    services = sut.value_of("service")
    known = {*PARTS, *(services if services is not UNDESCRIBED else ())}
    for one in sut.processes:
        parts = one.values()["must_fail_without"]
        for part in parts if parts is not UNDESCRIBED else ():
            if part not in known:
                yield (
                    f"process.must_fail_without: {one.name}: got {part}, expected a part such as "
                    f"{nearest(part, known)}; correct it, or describe the service"
                )
        unknown = [name for name in one.secrets if name not in {**one.env, **sut.env}]
        if unknown:
            yield (
                f"process.secrets: {one.name}: got {', '.join(unknown)}, expected names of "
                "variables in its env or the top level's; correct the names or remove them"
            )
        yield from _requests(sut, one)


def _requests(sut: Sut, process: Process) -> Iterator[str]:
    listed = process.values()["request"]
    requests: tuple[Request, ...] = listed if listed is not UNDESCRIBED else ()
    names = [one.name for one in requests]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"process.request: name: got {name} {names.count(name)} times, expected it once"
    for one in requests:
        values, place = one.values(), f"{process.name}/{one.name}"
        if (values["path"], values["sample"]) == (UNDESCRIBED, UNDESCRIBED):
            yield f"process.request: {place}: got neither path nor sample, expected one; add it"
        for key, name in one.named_files.items():
            if not (sut.folder / name).is_file():
                known = neighbours(sut.folder / name)
                yield (
                    f"process.request.{key}: {place}: got {name}, expected a file such as {known}; "
                    "correct the name"
                )


def _is_probe(sut: Sut, task: str) -> bool:
    """Return whether a task is one that the harness loads into the system."""
    return sut.injects_probe and task.startswith(PROBE_PREFIX)


# --- what does not exist ---------------------------------------------------------------------


def _missing_files(sut: Sut) -> Iterator[str]:
    if not sut.folder.is_dir():
        yield f"root: got {sut.folder}, expected a folder; correct it"
        return
    if not os.access(sut.interpreter, os.X_OK):
        yield f"python: got {sut.interpreter}, expected an interpreter; correct the path"
    yield from (
        f"sources: got {name}, expected a file or folder such as {neighbours(sut.folder / name)}"
        for name in sut.sources
        if not (sut.folder / name).exists()
    )
    yield from (
        f"reads.{program}: got {name}, expected a file or folder such as "
        f"{neighbours(sut.folder / name)}"
        for program, names in sut.reads.items()
        for name in names
        if not (sut.folder / name).exists()
    )
    for kind, names in sut.provision.values().items():
        for name in names:
            yield from _provision(sut, f"database.provision.{kind}", name)
    image = sut.value_of("image")
    if image is UNDESCRIBED:
        yield from _commands(sut)  # in an image, other commands may exist than here
        return
    yield from (
        f"image: got {name}, expected a file or folder such as {neighbours(sut.folder / name)}"
        for name in (image.dockerfile, *image.context)
        if not (sut.folder / name).exists()
    )


def _provision(sut: Sut, key: str, name: str) -> Iterator[str]:
    path = sut.folder / name
    if not path.is_file():
        known = neighbours(path)
        yield f"{key}: got {name}, expected a readable SQL file such as {known}; correct it"
    elif not any(path.is_relative_to(sut.folder / source) for source in sut.sources):
        yield (
            f"{key}: got {name}, expected a file in one of sources ({', '.join(sut.sources)}), "
            "which proofs copy; add its folder to sources"
        )


def _commands(sut: Sut) -> Iterator[str]:
    for key in ("migrations.up", "migrations.down", "worker.command", "dead_letters.replay"):
        command = sut.value_of(key)
        if command is not UNDESCRIBED:
            yield from _program(sut, key, command)
    for one in sut.processes:
        yield from _program(sut, f"process.command: {one.name}", one.command)


def _program(sut: Sut, key: str, command: Sequence[str]) -> Iterator[str]:
    program = command[0]
    here = sut.folder / program
    if not ("{" in program or shutil.which(program) or os.access(here, os.X_OK)):
        yield f"{key}: got {program}, expected a program of the PATH or under {sut.folder}"


def neighbours(path: Path) -> str:
    """Return the names next to a missing file that are most like it."""
    folder = path.parent
    return (
        nearest(path.name, (one.name for one in folder.iterdir()))
        if folder.is_dir()
        else f"those of {folder.parent}"
    )


def _own_files(root: Path) -> tuple[str, ...]:
    """Return what is in a folder and belongs to the system, for a file without `sources`."""
    if not root.is_dir():
        return ()
    tops = sorted({name.partition("/")[0] for name in project_files(root)})
    return tuple(
        name for name in tops if name not in _BUNDLES and not (root / name / "pyvenv.cfg").exists()
    )
