"""Which features of a description a check reads, as far as its source shows.

Owns the reading of gates as syntax trees: keys of the description (``sut.tenancy.guc``), parts of
the harness that need a feature (``stack.worker``), and all functions of the gates that a check
names. Not seen: keys whose name is computed, and tables of the description that a function passes
on to another.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from gateproof.description.key import find_field, is_named, section_in
from gateproof.description.section import UNDESCRIBED
from gateproof.description.sut import Sut

ROOT = Path(__file__).parents[1]
TOPS = ("gates", "system/gates")

_WORKER = ("worker.command", "celery.app", "ping.task", "task")
BY_HARNESS: Mapping[str, tuple[str, ...]] = {
    "worker": _WORKER,
    "start_worker": ("worker.command", "task"),
    "running_worker": ("worker.command", "task"),
    "wait_ready": _WORKER,
    "tasks": ("worker.command", "celery.app"),
    "publisher": ("worker.command", "celery.app"),
    "worker_environment": ("worker.command",),
    "migrate": ("migrations.up", "database.owner"),
    "metrics_url": ("metrics.path",),
    "health_url": ("health.path",),
    "report": ("worker.report", "logs.message"),
}
"""Maps attributes of stacks and workers to the keys that the harness reads for them."""
BY_PROPERTY = {"queues": "task", "tasks": "task", "queue_of": "task", "ends": "logs"}
"""Maps what a description offers in addition to its keys to the key that it follows from."""
BY_DERIVED = {"dead_letters.new": "dead_letters.statuses"}
"""Maps what a table offers in addition to its keys to the key that it follows from."""
FIXTURES = dict.fromkeys(
    ("stack", "own_stack", "empty_stack", "own_server_stack"), ("database.owner",)
)


@dataclass
class Function:
    """The keys that one function, or all of one class, reads by itself, and the names in it."""

    reads: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)


@dataclass
class Module:
    """The functions and classes of a module, and where its imported names come from."""

    functions: dict[str, Function] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    checks: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Maps each check to its criterion and its declared needs."""


def checks() -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Yield each criterion with the declared needs of its check and those that its source shows."""
    known = modules()
    for name, module in known.items():
        for check, (criterion, declared) in module.checks.items():
            yield criterion, declared, needs_of(_reads(known, name, check))


def needs_of(reads: Iterable[str]) -> tuple[str, ...]:
    """Return the shortest needs that cover keys: a table unless a key of it may be missing."""
    needs = {need for read in reads if (need := _need(read))}
    covered = {need.partition(".")[0] for need in needs if "." in need}
    order = list(Sut.model_fields)
    return tuple(
        sorted(needs - covered, key=lambda need: (order.index(need.partition(".")[0]), need))
    )


def _need(read: str) -> str:
    top, *rest = BY_DERIVED.get(read, read).split(".")
    described = Sut.model_fields.get(top)
    if described is None or not _may_lack(described):
        return ""
    if not rest or is_named(described.annotation) or section_in(described.annotation) is None:
        return top
    inner = find_field(Sut, [top, rest[0]])
    return f"{top}.{rest[0]}" if inner is not None and _may_lack(inner) else top


def _may_lack(key: object) -> bool:
    factory = getattr(key, "default_factory", None)
    return factory is not None and factory() is UNDESCRIBED


# --- following names -------------------------------------------------------------------------


def _reads(known: Mapping[str, Module], module: str, start: str) -> set[str]:
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    left = [(module, start)]
    while left:
        place, name = left.pop()
        if (place, name) in seen or place not in known:
            continue
        seen.add((place, name))
        here = known[place]
        if name in here.imported:
            left.append(here.imported[name])
        elif name in here.functions:
            found |= here.functions[name].reads
            left += [(place, other) for other in here.functions[name].names]
            left += [
                (one, other) for other in here.functions[name].names for one in _conftests(place)
            ]
    return found


def _conftests(place: str) -> list[str]:
    parts = place.split(".")[:-1]
    return [".".join((*parts[:end], "conftest")) for end in range(len(parts), 0, -1)]


@cache
def modules() -> Mapping[str, Module]:
    """Return every module of the gates by its dotted name."""
    paths = [path for top in TOPS for path in sorted((ROOT / top).rglob("*.py"))]
    found = {}
    for path in paths:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name] = _read(name, ast.parse(path.read_text(encoding="utf-8")))
    return found


def _read(name: str, tree: ast.Module) -> Module:
    module = Module()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            origin = _origin(name, node)
            for one in node.names:
                module.imported[one.asname or one.name] = (origin, one.name)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            module.functions[node.name] = _function(node)
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "criterion":
                    module.checks[node.name] = (
                        str(ast.literal_eval(mark.args[0])),
                        _declared(mark),
                    )
    return module


def _origin(name: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".")[: -node.level]
    return ".".join((*parts, *([node.module] if node.module else [])))


def _declared(mark: ast.Call) -> tuple[str, ...]:
    for one in mark.keywords:
        if one.arg == "needs":
            value = ast.literal_eval(one.value)
            return (value,) if isinstance(value, str) else tuple(value)
    return ()


# --- one function ----------------------------------------------------------------------------


def _function(node: ast.FunctionDef | ast.ClassDef) -> Function:
    found = Function()
    if isinstance(node, ast.FunctionDef):
        for argument in (*node.args.args, *node.args.kwonlyargs):
            found.names.add(argument.arg)  # a fixture of a conftest, say
            found.reads.update(FIXTURES.get(argument.arg, ()))
    body = [one for one in ast.walk(node) if not _is_mark(node, one)]
    aliases = _aliases(body)
    for one in body:
        if isinstance(one, ast.Name):
            found.names.add(one.id)
        elif isinstance(one, ast.Attribute):
            key = _key(one, aliases)
            if key:
                found.reads.add(key)
            elif not _is_description(one.value):
                found.reads.update(BY_HARNESS.get(one.attr, ()))
    return found


def _is_mark(function: ast.AST, node: ast.AST) -> bool:
    marks = getattr(function, "decorator_list", ())
    return any(node is inner for mark in marks for inner in ast.walk(mark))


def _aliases(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Return the names in a function that stand for a table of the description."""
    found: dict[str, str] = {}
    for node in nodes:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        target, value = node.targets[0], node.value
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=False))
        for one, other in pairs:
            if isinstance(one, ast.Name) and isinstance(other, ast.Attribute):
                key = _key(other, {})
                if key:
                    found[one.id] = key
    return found


def _key(node: ast.Attribute, aliases: Mapping[str, str]) -> str:
    """Return the key of the description that an expression reads; empty if it reads none."""
    if _is_description(node.value):
        name = BY_PROPERTY.get(node.attr, node.attr)
        return name if name in Sut.model_fields else ""
    if isinstance(node.value, ast.Name) and node.value.id in aliases:
        return f"{aliases[node.value.id]}.{node.attr}"
    if isinstance(node.value, ast.Attribute):
        above = _key(node.value, aliases)
        return f"{above}.{node.attr}" if above else ""
    return ""


def _is_description(node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id == "sut"
    return isinstance(node, ast.Attribute) and node.attr == "sut"
