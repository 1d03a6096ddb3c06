"""Programs that run in the system's interpreter and import nothing from this package.

They are passed as source text, because the image of the system does not contain this package.
"""

from __future__ import annotations

from pathlib import Path


def program(name: str) -> str:
    """Return the source text of one of the programs.

    Args:
        name: its module in this package, such as ``publisher``.

    """
    return (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
