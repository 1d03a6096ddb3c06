"""The names of the reference system: derived from its description and from its files.

Owns how they are found: roles, tables, tasks, queues, settings of the database and environment
variables from ``sut.toml``; paths, modules, environment variables, metrics and the objects of the
database from `system/` and `migrations/`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from tests.criteria import ROOT

FOLDERS = ("system", "migrations")
NO_PART = ("system/gates", "__pycache__")
"""The system's own gates are no part of what runs."""

METRICS = {"Counter", "Gauge", "Histogram", "Summary"}
"""Functions whose first argument is the name of a metric, or whose name ends in one of these."""

VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
OBJECTS = re.compile(
    r"CREATE (?:OR REPLACE |UNIQUE |CONSTRAINT |MATERIALIZED )?"
    r"(TABLE|INDEX|VIEW|SEQUENCE|FUNCTION|TRIGGER|POLICY|ROLE|TYPE)"
    r"(?: CONCURRENTLY)?(?: IF NOT EXISTS)? (\w+)"
)


@cache
def names() -> dict[str, str]:
    """Return each name and its kind in words."""
    found = {**dict(_of_files()), **dict(_of_description(load_sut(ROOT / "system/sut.toml")))}
    return {name: kind for name, kind in found.items() if name}


def _of_description(sut: Sut) -> Iterator[tuple[str, str]]:
    yield from ((role, "role") for _, role in sut.named_roles())
    tables = (*sut.known_tables, *(name for _, name in sut.named_tables()))
    yield from ((table, "table") for table in (*tables, sut.dead_letters.former_table))
    yield from ((task, "task") for task in sut.tasks)
    yield from ((task.rpartition(".")[2], "last part of a task") for task in sut.tasks)
    yield from ((queue, "queue") for queue in sut.queues)
    yield sut.tenancy.guc, "setting"
    how = sut.worker
    variables = (*how.dsn, *sut.migrations.dsn, *how.env, *sut.env)
    named = (how.broker, how.result_backend, how.port, how.eager)
    yield from ((name, "environment variable") for name in (*variables, *named))


def _files() -> tuple[Path, ...]:
    found = (path for top in FOLDERS for path in sorted((ROOT / top).rglob("*")))
    return tuple(
        path
        for path in found
        if path.is_file() and not any(part in path.as_posix() for part in NO_PART)
    )


def _of_files() -> Iterator[tuple[str, str]]:
    for path in _files():
        place = path.relative_to(ROOT)
        yield place.as_posix(), "path"
        if path.suffix == ".py":
            yield ".".join(place.with_suffix("").parts).removesuffix(".__init__"), "module"
            yield from _of_module(ast.parse(path.read_text(encoding="utf-8")))
        elif path.suffix == ".sql":
            yield from _objects(path.read_text(encoding="utf-8"))


def _of_module(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if VARIABLE.fullmatch(node.value):
                yield node.value, "environment variable"
            yield from _objects(node.value)
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            first = node.args[0]
            if called in METRICS and isinstance(first, ast.Constant):
                yield str(first.value), "metric"


def _objects(text: str) -> Iterator[tuple[str, str]]:
    yield from ((name, kind.lower()) for kind, name in OBJECTS.findall(text))
