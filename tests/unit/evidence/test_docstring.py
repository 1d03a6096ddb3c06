"""The docstrings of fields, and when validators are built."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from gateproof_evidence.model.docstring import describe_fields, described_schema


class Base(BaseModel):
    """A model that another one extends."""

    plain: int = 0
    """A whole
    number."""
    again: int = 0
    """Replaced below."""
    without: int = 0


class Inner(BaseModel):
    """A model in another one."""

    deep: str = ""
    """Inside a table."""


class Other(BaseModel):
    """The other model in another one."""

    far: str = ""
    """Inside the other choice."""


class Outer(Base):
    """A model with models in it."""

    again: int = 1
    named: Annotated[int, Field(description="Its own.")] = 0
    """Not this."""
    inner: tuple[Inner | Other, ...] = ()


def test_a_field_has_the_docstring_of_the_class_that_declares_it_last() -> None:
    """An inherited field keeps its docstring, a field that is declared again does not."""
    describe_fields(Outer)
    described = {name: field.description for name, field in Outer.model_fields.items()}
    assert described == {
        "plain": "A whole\nnumber.",
        "again": None,
        "without": None,
        "named": "Its own.",
        "inner": None,
    }


@pytest.mark.parametrize(("model", "key"), [("Inner", "deep"), ("Other", "far")])
def test_a_schema_has_the_docstrings_of_a_model_that_was_used_before(model: str, key: str) -> None:
    """All models of a union are described, although their validators were built without it."""
    assert Outer(inner=(Inner(), Other())).inner[0] == Inner()
    properties = described_schema(Outer)["$defs"][model]["properties"]
    assert properties[key]["description"].startswith("Inside")
