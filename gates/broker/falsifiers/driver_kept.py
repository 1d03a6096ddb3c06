"""The derivation keeps the driver that the DSN names, and its parameters."""

from __future__ import annotations

from types import ModuleType


def keep_driver(settings: ModuleType) -> None:
    """Take every DSN as it is."""

    def sqlalchemy_url(url: str, *, name: str) -> str:  # noqa: ARG001 (the replaced one's)
        return url

    vars(settings)["sqlalchemy_url"] = sqlalchemy_url


CHANGES = {"system.settings": keep_driver}
