"""The derivation drops the DSN's query parameters, and with them the demand for TLS."""

from __future__ import annotations

from types import ModuleType


def drop_parameters(settings: ModuleType) -> None:
    """Keep no parameter."""
    vars(settings)["_libpq_query"] = lambda _: {}


CHANGES = {"system.settings": drop_parameters}
