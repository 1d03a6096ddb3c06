"""Lets a made-up secret out through every kind of capture, so that its absence says something.

Owns the ways out. Leaves making and searching to `gateproof_evidence.redaction.canary`.

Source: design, "Redaction".
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from gateproof.probes.recorder import CANARY, Probe, Recorder, Scope
from gateproof_evidence.redaction.canary import Canary

REPORT = "canary.txt"


def release(recorder: Recorder, canary: Canary) -> None:
    """Observe the canary once through each kind of probe, in every form, wherever text goes.

    Raises:
        NotWritableError: a capture could not be written.

    """
    forms = dict(canary.forms())
    told = "\n".join(f"{name}: {form}" for name, form in forms.items())
    with recorder.on_behalf_of(Scope(part=CANARY)):
        for probe in get_args(Probe):
            recorder.observe(
                probe,
                f"a made-up secret that redaction must take out: {canary.value}",
                data={**forms, canary.value: list(forms.values()), "headers": {"Cookie": told}},
                text=f"{told}\n",
            )


def release_into(folder: Path, canaries: list[Canary]) -> Path:
    """Write the canaries as a report of another plugin would hold them, and return the file."""
    path = folder / REPORT
    lines = [form for canary in canaries for form in canary.forms().values()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
