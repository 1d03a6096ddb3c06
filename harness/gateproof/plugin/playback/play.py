"""Plays the checks of a folder back on the answers that a bundle has.

Owns the session of pytest and its files. It gets files that were verified and opens no bundle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from gateproof.plugin.playback.task import PLAYED, RESULT, TASK, Task
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.layout import in_data
from gateproof_evidence.format.recording.journal import read_lines
from gateproof_evidence.judging.playback import PlayedBack
from gateproof_evidence.judging.verdict import CHECK
from gateproof_evidence.model import PhaseEvent, Record

ENDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
"""How a session ends that has played back what could be."""
LIMIT_S = 600.0
SHOWN_LINES = 15


def play(
    gates: Path,
    sut: Path | None,
    answers: Mapping[str, bytes],
    records: Iterable[Record],
    gate_of: Mapping[str, str],
) -> PlayedBack:
    """Play the checks of a folder back.

    Args:
        gates: the folder with the checks and their catalogue.
        sut: the description of the system; by default, as for a run.
        answers: the files of answers, by their paths in the bundle.
        records: the journal of the run.
        gate_of: maps each criterion to its gate.

    Raises:
        BadInputError: the session did not start or did not end.

    """
    with tempfile.TemporaryDirectory(prefix="gateproof-playback-") as name:
        folder = Path(name)
        items = _items(records)
        Task(items=items, gates=gate_of).write(folder / TASK)
        for path, content in answers.items():
            file = folder / in_data(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        _run(gates, sut, folder)
        lines = (folder / PLAYED).read_bytes().splitlines(keepends=True)
        played = tuple(read_lines(lines, name=PLAYED))
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return PlayedBack(
        records=played, reasons=result["reasons"], redacted=frozenset(result["redacted"])
    )


def _items(records: Iterable[Record]) -> Mapping[tuple[str, str], str]:
    """Return the checks that the run has judged: criterion and function, and their items."""
    return {
        (one.criterion, one.item.partition("::")[2].rpartition("::")[2] or one.item): one.item
        for one in records
        if isinstance(one, PhaseEvent) and one.part == CHECK and one.when == "call"
        if one.criterion is not None
    }


def _run(gates: Path, sut: Path | None, folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", str(gates), "--playback", str(folder), "-q"]
    command += ["-p", "no:cacheprovider", "-p", "no:randomly"]
    command += ["-n", "0"]  # the settings may ask for more processes
    command += ["--sut", str(sut)] if sut is not None else []
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTEST_ADDOPTS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadInputError(
            f"--gates {gates}: got no end within {LIMIT_S:g} s, expected checks that end; a check "
            "waits for what it does not ask of its fixtures"
        ) from error
    if done.returncode not in ENDED or not (folder / RESULT).exists():
        raise BadInputError(
            f"--gates {gates}: pytest ended with {done.returncode}: {_end(done.stdout)}"
        )


def _end(output: str) -> str:
    lines: Sequence[str] = [line for line in output.splitlines() if line.strip()]
    return "\n".join(lines[-SHOWN_LINES:]) or "it printed nothing"
