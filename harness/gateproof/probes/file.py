"""The file probe: reads files of the system's project or files that a command wrote.

Owns reading files and recording their content. Leaves parsing and judging to the checks.
"""

from __future__ import annotations

from pathlib import Path

from gateproof.base.errors import HarnessError
from gateproof.probes.recorder import Recorder


class FileProbe:
    """Reads text files under one folder.

    Args:
        recorder: records what was read.
        root: the folder; nothing outside it is read.

    """

    def __init__(self, recorder: Recorder, root: Path) -> None:
        self._recorder = recorder
        self._root = root.resolve()

    def read(self, name: str) -> str | None:
        """Return the text of a file, or None if there is no such file; record either one.

        Args:
            name: path relative to the folder, with forward slashes.

        Raises:
            HarnessError: the path is outside the folder, through ``..`` or a link.

        """
        path = (self._root / name).resolve()
        if not path.is_relative_to(self._root):
            raise HarnessError(f"file probe: got {name}, expected a path inside {self._root}")
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
        result = "there is no such file" if text is None else f"{len(text)} characters"
        self._recorder.observe(
            "file",
            f"{name}: {result}",
            data={"path": name, "found": text is not None},
            text=f"--- {name}\n{result}\n" if text is None else f"--- {name}\n{text}",
        )
        return text
