"""The fault kind `settings`: another environment for the system's processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateproof.faults.interface import Fault

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy

UNREAD = "GATEPROOF_CHANGE_THAT_DOES_NOT_MATTER"
"""A variable that no system reads."""


@dataclass(frozen=True, kw_only=True)
class SettingsFault(Fault):
    """Environment variables that break a claim, verified in the environment of a real process."""

    kind = "settings"
    restarts = True
    cold = True

    variables: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        """Return the variables as a shell would set them."""
        return " ".join(f"{name}={value}" for name, value in self.variables)

    def change_inertly(self, copy: Copy) -> str:
        """Set a variable that nothing reads."""
        copy.stack.change_settings({UNREAD: "1"})
        return f"{UNREAD}=1"

    def fingerprint(self, copy: Copy) -> str:
        """Return the variables in the environment of a newly started process of the system."""
        names = [name for name, _ in self.variables]
        return copy.stack.seen_environment(names)

    def inject(self, copy: Copy) -> None:
        """Set the variables for every process that the stack starts from now on.

        Running workers and publishers are stopped; they start again at their next use.
        """
        copy.stack.change_settings(dict(self.variables))


def settings(name: str, variables: Mapping[str, str]) -> SettingsFault:
    """Break a claim by settings.

    Args:
        name: a slug.
        variables: environment variables and their values.

    """
    return SettingsFault(name=name, variables=tuple(sorted(variables.items())))
