"""The fault kind `settings`: another environment for the system's processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateproof.faults.interface import Fault

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy


@dataclass(frozen=True, kw_only=True)
class SettingsFault(Fault):
    """Environment variables that break a claim, seen in the environment of a real process."""

    kind = "settings"

    variables: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        """Return the variables as a shell would set them."""
        return " ".join(f"{name}={value}" for name, value in self.variables)

    def fingerprint(self, copy: Copy) -> str:
        """Return the variables as a process of the system, started now, has them."""
        names = [name for name, _ in self.variables]
        return copy.stack.seen_environment(names)

    def inject(self, copy: Copy) -> None:
        """Have every process that the stack starts from now on see the variables.

        Workers and the publisher that run already are stopped: they start again when asked for.
        """
        copy.stack.change_settings(dict(self.variables))


def settings(name: str, variables: Mapping[str, str]) -> SettingsFault:
    """Break a claim by settings.

    Args:
        name: a plain slug.
        variables: environment variables.

    """
    return SettingsFault(name=name, variables=tuple(sorted(variables.items())))
