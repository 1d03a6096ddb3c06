"""Writes a canary through every kind of capture, so that its absence proves that redaction works.

Owns writing the canary. Leaves generating and searching it to
`gateproof_evidence.redaction.canary`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import get_args

from gateproof.base.errors import HarnessError
from gateproof.probes.answers.boundary import Boundary
from gateproof.probes.recorder import CANARY, Probe, Recorder, Scope
from gateproof.probes.sql import Rows
from gateproof_evidence.format.layout import ANSWERS, in_data
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
        _plant_in_answers(recorder, forms)


def _plant_in_answers(recorder: Recorder, forms: Mapping[str, str]) -> None:
    """Record the canary in answers to a check: as text, as bytes, in rows and in an exception."""
    name = f"{in_data(ANSWERS)}_run/{CANARY}-{recorder.journal.writer}.jsonl"
    house = Boundary(recorder, name).fixture(CANARY, _Answers())
    for form in forms.values():
        house.same((form, form.encode(), {form: [form]}))
        house.same(Rows(columns=("text",), rows=((form,),), count=1))
        with suppress(HarnessError):
            house.fail(form)


class _Answers:
    """Answers what it is asked."""

    def same(self, value: object) -> object:
        """Return the value."""
        return value

    def fail(self, text: str) -> None:
        """Raise an exception with a text."""
        raise HarnessError(text)


def plant_in_report(folder: Path, canaries: list[Canary]) -> Path:
    """Write the canaries into a file like a report of another plugin, and return the file."""
    path = folder / REPORT
    lines = [form for canary in canaries for form in canary.forms().values()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
