"""The place in which a check runs the code of the system."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateproof.proof.proof import ProofItem


@pytest.mark.parametrize(
    ("fixtures", "on_machine"),
    [
        (["machine", "files", "sut"], True),
        (["machine", "commands"], False),
        (["machine", "own_stack"], False),
        (["commands"], False),
        (["files"], False),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
def test_check_with_the_machine_alone_runs_there(fixtures: list[str], *, on_machine: bool) -> None:
    """A stack, or commands in the place of the system, would run the code elsewhere."""
    item: Any = SimpleNamespace(fixturenames=fixtures)
    item.needs_stack = vars(ProofItem)["needs_stack"].fget(item)
    assert vars(ProofItem)["on_machine"].fget(item) is on_machine
