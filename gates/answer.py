"""The values that a ping returns about the process that ran it.

Owns the premise that it returns them: a ping of another system may return only that it ran.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateproof import TaskResult, premise


def number_in(result: TaskResult, name: str) -> int:
    """Return a number that a ping returned.

    Args:
        result: the result of the ping.
        name: the key of the value: ``pid`` or ``parent_pid``.

    Raises:
        PremiseError: its result is not a mapping with this key.

    """
    value = result.value if isinstance(result.value, Mapping) else {}
    premise("values that the ping returns", got=sorted(value), relation="contains", expected=name)
    return int(value[name])
