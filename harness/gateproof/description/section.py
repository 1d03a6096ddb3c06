"""The base of every table of a ``sut.toml``, and the values that such tables hold.

Owns the rule that a key without a value is not described: reading one raises, and says which key
to add. Leaves the tables themselves to the modules next to it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr


class Undescribed:
    """The value of a key that the file does not have."""

    def __deepcopy__(self, memo: object) -> Undescribed:
        """Return the same object: there is one."""
        return self

    def __repr__(self) -> str:
        return "not described"


UNDESCRIBED = Undescribed()


def optional(example: Any) -> Any:
    """Return the field of a key that a system may lack.

    Args:
        example: a value that the key may have, for messages and editors.

    """
    return Field(default_factory=lambda: UNDESCRIBED, examples=[example])


def required(example: Any) -> Any:
    """Return the field of a key without which its table means nothing; see `optional`."""
    return Field(examples=[example])


def mapping() -> Any:
    """Return the field of a table with names of its own, which is empty without any."""
    return Field(default_factory=dict)


Problem = Callable[[str], BaseException]
"""Returns the error to raise for a key, in dots, that is not described."""


class Section(BaseModel):
    """A table of the file; unknown keys and wrong types are refused."""

    # The validators of all tables are built at once, when the first description is read.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    named_by_default: ClassVar[frozenset[str]] = frozenset()
    """The tables in which a name that is not there stands for itself."""

    _place: str = PrivateAttr(default="")
    _problem: Problem | None = PrivateAttr(default=None)

    if not TYPE_CHECKING:  # a type checker would accept every name otherwise

        def __getattribute__(self, name: str) -> Any:
            """Return an attribute, unless it is a key that the file does not have."""
            value = super().__getattribute__(name)
            if value is UNDESCRIBED:
                key = f"{self._place}.{name}" if self._place else name
                if self._problem is None:
                    raise AttributeError(f"{key}: got no value, expected one; add the key")
                raise self._problem(key)
            return value

    def values(self) -> dict[str, Any]:
        """Return the keys and their values, `UNDESCRIBED` among them."""
        return dict(self.__dict__)

    def set_place(self, place: str, problem: Problem) -> None:
        """Set the dotted place of the table in its file, and of all tables in it.

        Args:
            place: the keys that lead here, such as ``worker.report``; empty for the whole file.
            problem: returns the error for a key that is read and not described.

        """
        self._place, self._problem = place, problem
        for name, value in self.__dict__.items():
            inner = f"{place}.{name}" if place else name
            for key, one in _sections(inner, value):
                one.set_place(key, problem)


def _sections(place: str, value: Any) -> list[tuple[str, Section]]:
    if isinstance(value, Section):
        return [(place, value)]
    if isinstance(value, dict):
        return [found for key, one in value.items() for found in _sections(f"{place}.{key}", one)]
    if isinstance(value, tuple):
        return [found for one in value for found in _sections(place, one)]
    return []


Words = tuple[str, ...]
Command = Annotated[Words, Field(min_length=1)]
"""Words of a command; ``{python}`` and the placeholders that the key documents are filled in."""

_DSN_FORMS = "postgresql|postgresql+asyncpg|postgresql+psycopg2|postgresql+psycopg"
DsnForm = Annotated[str, Field(pattern=f"^({_DSN_FORMS})$".replace("+", r"\+"))]

Timezone = Annotated[str, Field(pattern=r"^[A-Za-z0-9<>:+/_,.-]*$")]
"""A value of the variable `TZ`; empty leaves it as it is."""

InnerFolder = Annotated[str, Field(pattern=r"^(/\w[\w.-]*)+$")]
"""Absolute path of a folder in an image, without `..`."""


def _calendar_day(text: str) -> str:
    date.fromisoformat(text)
    return text


Day = Annotated[
    str,
    Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"),
    AfterValidator(_calendar_day),
]
"""A calendar day in UTC, such as ``2027-06-30``."""
