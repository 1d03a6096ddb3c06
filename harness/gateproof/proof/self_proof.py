"""The self-proof of the harness: specimens, which are proofs with a known correct result.

They run in every run with proofs, by the same steps as any proof, on a copy that holds a single
file: a check that always passes, one that always fails, one that states no claim, a change that
does not matter, faults that do not land or are denied, failures by an error, a premise, an
assertion, another claim or on another object, and a sound check. The correct results are in
`gateproof_evidence.judging.proof`. Any other result is a defect of the harness, and the run
releases nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateproof.faults.code.file import FileFault
from gateproof.faults.code.text import Addition, Change, Replacement
from gateproof.faults.falsifier import Prediction
from gateproof.probes.claims.claim import claim, claims_of_check
from gateproof.probes.claims.premise import premise
from gateproof.probes.file import FileProbe
from gateproof.proof.proof import run_steps
from gateproof.run.writer import WRITER
from gateproof.stack.bring_up import BringUp
from gateproof.stack.copy import HARNESS, Copy
from gateproof_evidence.judging.proof import SPECIMENS
from gateproof_evidence.model import SelfProofEvent

CLAIM, KEPT = "claim.txt", "kept = yes"
MESSAGE = "the claim is not kept"
PREDICTED = Prediction(text=MESSAGE)


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """A check, a change, and the predicted finding."""

    check: Callable[[FileProbe], object]
    change: Change
    expect: Prediction = PREDICTED


def sound(files: FileProbe) -> None:
    """Claim that the file exists, and that it keeps the claim."""
    claim(MESSAGE, on=CLAIM, got=green(files), relation="contains", expected=KEPT)


def green(files: FileProbe) -> str:
    """Claim that the file exists, which no change here makes false, and return its text."""
    text = files.read(CLAIM) or ""
    claim("file that exists", on=CLAIM, got=bool(text), expected=True)
    return text


def red(files: FileProbe) -> None:
    """Claim what is never so."""
    claim(MESSAGE, on=CLAIM, got=green(files), expected="")


def brittle(files: FileProbe) -> None:
    """Raise an error that is not an assertion when the claim is not kept."""
    if KEPT not in green(files):
        raise KeyError(MESSAGE)


def unprepared(files: FileProbe) -> None:
    """State as a premise what is the claim."""
    premise(MESSAGE, got=green(files), relation="contains", expected=KEPT)


def asserting(files: FileProbe) -> None:
    """Assert what is the claim, next to a claim that says less."""
    text = green(files)
    assert KEPT in text, f"{MESSAGE}: {CLAIM}: got {text!r}"


def silent_when_green(files: FileProbe) -> None:
    """Claim nothing unless the claim is not kept."""
    text = files.read(CLAIM) or ""
    if KEPT not in text:
        claim(MESSAGE, on=CLAIM, got=text, relation="contains", expected=KEPT)


BREAK = Replacement(before=KEPT, after="kept = no")

SPECIMEN_CHECKS = {
    "always-green": Specimen(check=green, change=BREAK),
    "always-red": Specimen(check=red, change=BREAK),
    "change-that-does-not-matter": Specimen(check=sound, change=Addition(lines="note = none")),
    "fault-that-does-not-land": Specimen(check=sound, change=Replacement(before=KEPT, after=KEPT)),
    "fault-that-is-denied": Specimen(check=sound, change=Replacement(before="absent", after="x")),
    "red-by-an-error": Specimen(check=brittle, change=BREAK),
    "red-by-a-premise": Specimen(check=unprepared, change=BREAK),
    "red-by-an-assertion": Specimen(check=asserting, change=BREAK),
    "green-without-a-claim": Specimen(check=silent_when_green, change=BREAK),
    "red-for-another-reason": Specimen(
        check=sound, change=BREAK, expect=Prediction(text="some other message")
    ),
    "red-by-another-claim": Specimen(
        check=sound, change=BREAK, expect=Prediction(claim="file that exists", on=CLAIM)
    ),
    "red-on-another-object": Specimen(
        check=sound, change=BREAK, expect=Prediction(claim=MESSAGE, on="other.txt")
    ),
    "claim-that-can-fail": Specimen(
        check=sound, change=BREAK, expect=Prediction(claim=MESSAGE, on=CLAIM, text="kept = no")
    ),
    "check-that-can-fail": Specimen(check=sound, change=BREAK),
}
assert SPECIMEN_CHECKS.keys() == SPECIMENS.keys(), "every specimen is defined here and judged there"


class SelfProofItem(pytest.Item):
    """One specimen; passes when its steps were recorded: the result is judged later."""

    specimen: str

    @classmethod
    def make_all(cls, session: pytest.Session) -> list[pytest.Item]:
        """Create the items of all specimens."""
        items: list[pytest.Item] = []
        for name in SPECIMEN_CHECKS:
            item: SelfProofItem = cls.from_parent(session, name=name, nodeid=f"self-proof::{name}")
            item.specimen = name
            items.append(item)
        return items

    def runtest(self) -> None:
        """Run the steps of the specimen's proof."""
        bring_up = self.config.stash[WRITER].bring_up
        specimen, recorder = SPECIMEN_CHECKS[self.specimen], bring_up.recorder
        fault = FileFault(name=self.specimen, file=CLAIM, change=specimen.change)
        with _copy(bring_up) as copy:
            files = FileProbe(recorder, copy.sut.folder)
            run_steps(
                SelfProofEvent,
                fault,
                specimen.expect,
                lambda: _run(specimen.check, files),
                recorder=recorder,
                copy=copy,
                again=True,
                specimen=self.specimen,
            )

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return the location and the name of the item."""
        return Path(__file__), None, self.nodeid


def _run(check: Callable[[FileProbe], object], files: FileProbe) -> None:
    with claims_of_check():
        check(files)


@contextmanager
def _copy(bring_up: BringUp) -> Iterator[Copy]:
    folder = bring_up.new_folder()
    folder.mkdir()
    (folder / CLAIM).write_text(f"{KEPT}\n", encoding="utf-8")
    copy = Copy(
        bring_up=bring_up,
        sut=bring_up.sut.moved_to(folder),
        harness=HARNESS,
        own_server=False,
        needs_stack=False,
        folders=(folder,),
    )
    yield copy
    copy.dispose()
