"""The docstrings of fields, read from the source of their models when a page or message needs them.

Pydantic can read them itself (`use_attribute_docstrings`), but then parses the source of each class
at every import. A model that the interpreter has no source of has no docstrings.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel


@cache
def describe_fields(model: type[BaseModel]) -> None:
    """Make docstrings the descriptions of all fields of a model, and of the models that it holds.

    A field with a description keeps it. The schema of a model that has been used stays without
    them, see `described_schema`.
    """
    for one in _with_inner(model, set()):
        for name, field in one.model_fields.items():
            if field.description is None:
                field.description = _docstring_of(one, name)


def described_schema(model: type[BaseModel], **options: Any) -> dict[str, Any]:
    """Return the JSON Schema of a model with the docstrings of its fields.

    Args:
        model: the model.
        **options: those of `BaseModel.model_json_schema`.

    """
    describe_fields(model)
    for one in _with_inner(model, set()):
        one.model_rebuild(force=True)
    return model.model_json_schema(**options)


def _with_inner(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Yield a model after those that it holds, since its schema contains theirs."""
    seen.add(model)
    for field in model.model_fields.values():
        for inner in _models_in(field.annotation):
            if inner not in seen:
                yield from _with_inner(inner, seen)
    yield model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for one in get_args(annotation):
        yield from _models_in(one)


def _docstring_of(model: type[BaseModel], name: str) -> str | None:
    """Return the docstring of a field from the class that declares it last."""
    for owner in model.__mro__:
        if name in inspect.get_annotations(owner):
            return _docstrings(owner.__module__).get(f"{owner.__qualname__}.{name}")
    return None


@cache
def _docstrings(module: str) -> dict[str, str]:
    """Return the docstrings of the attributes of a module's top-level classes, by dotted name."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except OSError:
        return {}
    return {
        f"{owner.name}.{attribute.target.id}": inspect.cleandoc(text.value.value)
        for owner in tree.body
        if isinstance(owner, ast.ClassDef)
        for attribute, text in zip(owner.body, owner.body[1:], strict=False)
        if isinstance(attribute, ast.AnnAssign) and isinstance(attribute.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(text.value.value, str)
    }
