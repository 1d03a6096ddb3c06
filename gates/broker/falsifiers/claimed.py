"""The worker claims PostgreSQL as broker and result backend, whatever it uses."""

from __future__ import annotations

from types import ModuleType


def claim_postgresql(settings: ModuleType) -> None:
    """Have the report line say what is expected, of any URL."""

    def scheme_of(url: str) -> str:
        names = {"memory": "sqla+postgresql", "cache+memory": "db+postgresql"}
        return names.get(url.split("://")[0]) or told(url)

    told = vars(settings)["scheme_of"]
    vars(settings)["scheme_of"] = scheme_of


CHANGES = {"system.settings": claim_postgresql}
