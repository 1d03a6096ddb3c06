"""An error about a DSN repeats it, and the logs hide nothing."""

from __future__ import annotations

from types import ModuleType


def repeat_dsn(settings: ModuleType) -> None:
    """Put the DSN into the message of what refuses it."""

    def sqlalchemy_url(url: str, *, name: str) -> str:
        try:
            cleaned: str = refuse_or_clean(url, name=name)
        except error as problem:
            raise error(f"{problem}; it was {url}") from None
        return cleaned

    refuse_or_clean, error = settings.sqlalchemy_url, settings.ConfigurationError
    vars(settings)["sqlalchemy_url"] = sqlalchemy_url


def hide_nothing(logs: ModuleType) -> None:
    """Let every text through."""
    logs.Scrubber.text = lambda _, text: text


CHANGES = {"system.settings": repeat_dsn, "system.logs": hide_nothing}
