"""Exceptions by which pytest skips a check; the class decides the outcome of the criterion."""

from __future__ import annotations

import pytest


# pytest publishes this class as an attribute of a function, which mypy does not accept as a class.
class NotApplicableError(pytest.skip.Exception):  # type: ignore[name-defined,misc]
    """The system or the environment lacks what the check needs, and is known to lack it."""


class NotDescribedError(pytest.skip.Exception):  # type: ignore[name-defined,misc]
    """The description of the system does not have a key that the check needs."""
