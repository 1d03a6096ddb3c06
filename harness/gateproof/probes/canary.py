"""Writes a canary through every kind of capture, so that its absence proves that redaction works.

Owns writing the canary. Leaves generating and searching it to
`gateproof_evidence.redaction.canary`.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from gateproof.probes.recorder import CANARY, Probe, Recorder, Scope
from gateproof_evidence.redaction.canary import Canary

REPORT = "canary.txt"


def plant(recorder: Recorder, canary: Canary) -> None:
    """Record the canary once per kind of probe, in every form, in all text fields.

    Raises:
        NotWritableError: a capture could not be written.

    """
    forms = dict(canary.forms())
    text = "\n".join(f"{name}: {form}" for name, form in forms.items())
    with recorder.in_scope(Scope(part=CANARY)):
        for probe in get_args(Probe):
            recorder.observe(
                probe,
                f"a canary that redaction must remove: {canary.value}",
                data={**forms, canary.value: list(forms.values()), "headers": {"Cookie": text}},
                text=f"{text}\n",
            )


def plant_in_report(folder: Path, canaries: list[Canary]) -> Path:
    """Write the canaries into a file like a report of another plugin, and return the file."""
    path = folder / REPORT
    lines = [form for canary in canaries for form in canary.forms().values()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
