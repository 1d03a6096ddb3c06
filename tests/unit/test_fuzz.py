"""Fuzzing can find something: what a parser falls over is not taken for a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof_evidence.errors import EvidenceError
from tests.bench import fuzz


def test_fuzz_tells_a_refusal_from_a_fall() -> None:
    """The project's own errors are refusals; any other is a finding."""

    def refuse(_: bytes) -> None:
        raise EvidenceError("no")

    def fall(_: bytes) -> None:
        raise ValueError("off the rails")

    fuzz.once(refuse, b"")
    with pytest.raises(ValueError, match="off the rails"):
        fuzz.once(fall, b"")


def test_fuzz_finds_what_is_accepted_in_a_second_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parser that takes more than one spelling is found from the seeds alone."""
    fuzz.write_seeds(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= fuzz.TARGETS.keys()
    lax = {**fuzz.TARGETS, "json": lambda content: fuzz._same(content.strip(), content)}
    monkeypatch.setattr(fuzz, "TARGETS", lax)
    (tmp_path / "json" / "seed-0").write_bytes(b"{} ")
    (tmp_path / "json" / "seed-1").unlink()
    with pytest.raises(fuzz.SpellingError, match="accepted"):
        fuzz.fuzz_with_hypothesis("json", tmp_path, seconds=1)
