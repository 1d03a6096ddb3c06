"""The harness proves itself: specimens of which it is known what must come out of their proof.

In every run that proves anything, by the same steps as any proof: a check that is always green, one
that is always red, a change that does not matter, faults that do not land or are denied, and one
sound check, on a copy that holds a single file. What must come out stands in
`gateproof_evidence.judging.proof`; a specimen that comes out otherwise is a defect of the harness,
and nothing of the run is released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateproof.faults.file import FileFault
from gateproof.faults.text import Addition, Change, Replacement
from gateproof.probes.file import FileProbe
from gateproof.proof.proof import tell_story
from gateproof.run.writer import WRITER
from gateproof.stack.bring_up import BringUp
from gateproof.stack.copy import HARNESS, Copy
from gateproof_evidence.judging.proof import SPECIMENS
from gateproof_evidence.model import SelfProofEvent

CLAIM, KEPT = "claim.txt", "kept = yes"
SAID = "the claim is not kept"


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """A check, a change, and the message that is predicted."""

    check: Callable[[FileProbe], None]
    change: Change
    expect: str = SAID


def sound(files: FileProbe) -> None:
    """Fail when the claim is not kept."""
    text = files.read(CLAIM)
    assert text is not None
    assert KEPT in text, f"{SAID}: got {text!r}"


def green(files: FileProbe) -> None:
    """Look, and never fail."""
    files.read(CLAIM)


def red(files: FileProbe) -> None:
    """Fail whatever there is."""
    text = files.read(CLAIM)
    assert text is None, f"{SAID}: got {text!r}"


def brittle(files: FileProbe) -> None:
    """Break when the claim is not kept, by an error and not by an assertion."""
    text = files.read(CLAIM)
    if text is None or KEPT not in text:
        raise KeyError(SAID)


BREAK = Replacement(before=KEPT, after="kept = no")

MADE = {
    "always-green": Specimen(check=green, change=BREAK),
    "always-red": Specimen(check=red, change=BREAK),
    "change-that-does-not-matter": Specimen(check=sound, change=Addition(lines="note = none")),
    "fault-that-does-not-land": Specimen(check=sound, change=Replacement(before=KEPT, after=KEPT)),
    "fault-that-is-denied": Specimen(check=sound, change=Replacement(before="absent", after="x")),
    "red-by-an-error": Specimen(check=brittle, change=BREAK),
    "red-for-another-reason": Specimen(check=sound, change=BREAK, expect="some other message"),
    "check-that-can-fail": Specimen(check=sound, change=BREAK),
}
assert MADE.keys() == SPECIMENS.keys(), "every specimen is made here and judged there"


class SelfProofItem(pytest.Item):
    """One specimen; passes when its story was told, whatever comes out: that is judged later."""

    specimen: str

    @classmethod
    def beside(cls, session: pytest.Session) -> list[pytest.Item]:
        """Make the items of all specimens."""
        items: list[pytest.Item] = []
        for name in MADE:
            item: SelfProofItem = cls.from_parent(session, name=name, nodeid=f"self-proof::{name}")
            item.specimen = name
            items.append(item)
        return items

    def runtest(self) -> None:
        """Tell the specimen's story."""
        bring_up = self.config.stash[WRITER].bring_up
        made, recorder = MADE[self.specimen], bring_up.recorder
        fault = FileFault(name=self.specimen, file=CLAIM, change=made.change)
        with _copy(bring_up) as copy:
            files = FileProbe(recorder, copy.sut.folder)
            tell_story(
                SelfProofEvent,
                fault,
                made.expect,
                lambda: made.check(files),
                recorder=recorder,
                copy=copy,
                again=True,
                specimen=self.specimen,
            )

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return where it is and what it is called."""
        return Path(__file__), None, self.nodeid


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
