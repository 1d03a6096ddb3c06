"""Define the finding of a rule and the rules that there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rule = Literal["validity", "house", "compatibility", "examples"]
RULES: tuple[Rule, ...] = ("validity", "house", "compatibility", "examples")
"""The rules in the order in which they are applied."""

Severity = Literal["error", "warning"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One breach of a rule in one document."""

    rule: Rule
    name: str
    """A slug of what is wrong, such as ``required-added``."""
    document: str
    """The domain, such as ``webhooks/stripe``."""
    where: str
    """An operation, a part of it, or a JSON pointer."""
    got: str
    expected: str
    severity: Severity = "error"

    @property
    def message(self) -> str:
        """The finding as one line."""
        return (
            f"{self.document}: {self.where}: {self.name}: got {self.got}, expected {self.expected}"
        )
