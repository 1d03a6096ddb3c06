"""The keys that a description can have: their names, their meaning, an example, and older names.

Derived from the model alone, so that messages, the generated pages and `needs` agree with what the
parser accepts. Version 1 is refused with a list of renames, and never read: each key has one name.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from gateproof.description.section import Section
from gateproof_evidence.model.docstring import describe_fields

ANY_NAME = "NAME"
"""Stands for a name that the file chooses, such as that of a task."""
_BARE = re.compile(r"^[A-Za-z0-9_-]+$")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the existing names that are most like one that does not exist, for a message."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    found = close or known[:12]
    return " or ".join(found) if found else "none"


def section_in(annotation: Any) -> type[Section] | None:
    """Return the table that a field holds: itself, as items of a list, or under names."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) in (tuple, dict, Union, UnionType):
        for one in get_args(annotation):
            found = section_in(one)
            if found is not None:
                return found
    return None


def is_named(annotation: Any) -> bool:
    """Return whether a field is a table whose keys the file chooses."""
    return get_origin(annotation) is dict


def is_list(annotation: Any) -> bool:
    """Return whether a field is a list."""
    return get_origin(annotation) is tuple


def find_field(model: type[Section], keys: Sequence[str]) -> FieldInfo | None:
    """Return the field of a dotted key, or None if a description cannot have it.

    A key below a table of free names is that table's field.
    """
    head, *rest = keys
    field = model.model_fields.get(head)
    if field is None or not rest:
        return field
    if is_named(field.annotation):
        return field
    inner = section_in(field.annotation)
    return find_field(inner, rest) if inner is not None else None


def all_keys(model: type[Section], place: str = "") -> list[str]:
    """Return every key that a description can have, in dots, without those below free names."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        key = f"{place}.{name}" if place else name
        found.append(key)
        inner = section_in(field.annotation)
        if inner is not None and not is_named(field.annotation) and not is_list(field.annotation):
            found += all_keys(inner, key)
    return found


def example_of(model: type[Section], key: str) -> str:
    """Return lines of TOML that describe a key: its table's head and a value.

    For a table, its required keys. The lines are an example and rarely right as they are.
    """
    keys = key.split(".")
    field = find_field(model, keys)
    if field is None:
        return ""
    inner = section_in(field.annotation)
    if inner is None:
        place, name = keys[:-1], keys[-1]
        line = f"{name} = {toml(_example(field))}"
        return f"[{'.'.join(place)}]\n{line}" if place else line
    if is_list(field.annotation):
        return f"[[{key}]]\n{_required(inner)}"
    name = f'{keys[0]}."{ANY_NAME}"' if is_named(field.annotation) and len(keys) == 1 else key
    return f"[{name}]\n{_required(inner)}".rstrip()


def meaning_of(model: type[Section], key: str) -> str:
    """Return the first sentence about a key, for messages."""
    describe_fields(model)
    field = find_field(model, key.split("."))
    if field is None:
        return ""
    inner = section_in(field.annotation)
    text = field.description or (inner.__doc__ if inner is not None else "") or ""
    return " ".join(text.split()).split(". ")[0].rstrip(".")


def toml(value: Any) -> str:
    """Return a value as TOML in one line."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{_name(key)} = {toml(one)}" for key, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False)


def _name(key: str) -> str:
    return key if _BARE.match(key) else json.dumps(key)


def _required(model: type[Section]) -> str:
    lines = [
        f"{name} = {toml(_example(field))}"
        for name, field in model.model_fields.items()
        if field.is_required()
    ]
    return "\n".join(lines)


def _example(field: FieldInfo) -> Any:
    if field.examples:
        return field.examples[0]
    return "..." if field.is_required() else field.get_default(call_default_factory=True)


# --- version 1 -------------------------------------------------------------------------------

RENAMES: Mapping[str, str] = {
    "roles.migration": "database.owner",
    "roles.worker": "worker.role",
    "roles.operator": "dead_letters.operator",
    "roles.reader": "dead_letters.reader",
    "roles.aggregator": "database.view_owner",
    "provision.server": "database.provision.server",
    "provision.database": "database.provision.database",
    "migrations.role": "database.owner",
    "migrations.upgrade": "migrations.up",
    "migrations.downgrade": "migrations.down",
    "celery.tables": "broker.tables, next to broker.kind",
    "queues": 'task."NAME".queue, one table a task',
    "endpoints.metrics": "metrics.path",
    "endpoints.health": "health.path",
    "endpoints.health_deadline_s": "health.deadline_s",
}
"""Maps each key of version 1 that is gone, in dots, to its new place."""


def renames_for(content: Mapping[str, Any]) -> list[str]:
    """Return a line ``old key -> new key`` for each key of version 1 in a file."""
    return [f"{old} -> {new}" for old, new in RENAMES.items() if _has(content, old.split("."))]


def _has(content: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(content, Mapping) or key not in content:
            return False
        content = content[key]
    return True
