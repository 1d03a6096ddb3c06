"""Fuzzing reports defects: an unexpected error of a parser is not taken for a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof_evidence.errors import EvidenceError
from tests.bench import fuzz


def test_fuzz_distinguishes_a_refusal_from_an_error() -> None:
    """An error class of the project is a refusal; any other error is a finding."""

    def refuse(_: bytes) -> None:
        raise EvidenceError("no")

    def fail(_: bytes) -> None:
        raise ValueError("off the rails")

    fuzz.once(refuse, b"")
    with pytest.raises(ValueError, match="off the rails"):
        fuzz.once(fail, b"")


def test_fuzz_finds_an_input_that_is_accepted_in_a_second_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seeds alone find a parser that accepts more than one spelling."""
    fuzz.write_seeds(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= fuzz.TARGETS.keys()
    lax = {**fuzz.TARGETS, "json": lambda content: fuzz._same(content.strip(), content)}
    monkeypatch.setattr(fuzz, "TARGETS", lax)
    (tmp_path / "json" / "seed-0").write_bytes(b"{} ")
    (tmp_path / "json" / "seed-1").unlink()
    with pytest.raises(fuzz.SpellingError, match="accepted"):
        fuzz.fuzz_with_hypothesis("json", tmp_path, seconds=1)
