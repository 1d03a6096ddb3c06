"""Statements of checks that were played back take the place of the recorded ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateproof_evidence.cli.rejudging import playback as command
from gateproof_evidence.cli.rejudging.playback import Listed, find_play
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.judging.playback import NO_CHECK, REDACTED, PlayedBack, replace_played
from gateproof_evidence.judging.rejudgement import rejudge
from gateproof_evidence.judging.verdict import CHECK
from gateproof_evidence.model import ClaimEvent, PhaseEvent, PremiseEvent, Record, Run, Waiver

Replayed = ClaimEvent | PremiseEvent | PhaseEvent


def played_of(records: Sequence[Record], **update: Any) -> tuple[Record, ...]:
    """Return what a playback of the same checks returns; changed claims are those of RLS-01."""
    found: list[Record] = []
    for one in records:
        if isinstance(one, PhaseEvent) and one.part == CHECK and one.when == "call":
            found.append(one.model_copy(update={"writer": "playback", "seq": len(found)}))
        elif isinstance(one, ClaimEvent | PremiseEvent) and one.part == CHECK:
            changed = update if one.criterion == "RLS-01" else {}
            place = {"writer": "playback", "seq": len(found)}
            found.append(one.model_copy(update={**place, **changed}))
    return tuple(found)


def items_of(records: Sequence[Record]) -> dict[str, str]:
    """Return the item of each criterion's check."""
    return {
        str(one.criterion): one.item
        for one in records
        if isinstance(one, PhaseEvent) and one.part == CHECK and one.when == "call"
    }


@pytest.fixture
def ids(catalogue: Catalogue) -> tuple[str, ...]:
    """The ids of the catalogue."""
    return tuple(one.id for one in catalogue.criteria)


def test_equal_statements_give_the_same_run(
    run: Run,
    catalogue: Catalogue,
    records: tuple[Record, ...],
    waivers: tuple[Waiver, ...],
    ids: tuple[str, ...],
) -> None:
    """A playback that states the same changes no verdict, and is counted for each check."""
    found = replace_played(ids, records, PlayedBack(records=played_of(records), reasons={}))
    assert set(found.criteria) == set(items_of(records))
    assert set(found.not_run) == set(ids) - set(found.criteria)
    assert (found.others, found.changes) == ({}, {})
    again = rejudge(run, catalogue, found.records, waivers)
    assert not again.differs
    assert again.again == run


def test_changed_check_flips_its_criterion_alone(
    run: Run,
    catalogue: Catalogue,
    records: tuple[Record, ...],
    waivers: tuple[Waiver, ...],
    ids: tuple[str, ...],
) -> None:
    """An inverted claim of one check makes its criterion fail, and both statements are named."""
    false = {"relation": "differs", "holds": False}
    played = PlayedBack(records=played_of(records, **false), reasons={})
    played = PlayedBack(records=tuple(map(failed_call, played.records)), reasons={})
    found = replace_played(ids, records, played)
    assert list(found.changes) == ["RLS-01"]
    texts = found.changes["RLS-01"]
    assert [one.partition(":")[0] for one in texts] == ["only recorded"] * (len(texts) // 2) + [
        "only played back"
    ] * (len(texts) // 2)
    again = rejudge(run, catalogue, found.records, waivers)
    differing = [(one.criterion, one.what, one.again) for one in again.disagreements]
    assert differing == [("RLS-01", "outcome", "fail")]


def failed_call(one: Record) -> Record:
    """Return the stage of a check that its claims have failed."""
    if isinstance(one, PhaseEvent) and one.criterion == "RLS-01":
        return one.model_copy(update={"result": "raised", "category": "assertion"})
    return one


def test_check_that_could_not_be_played_back_keeps_its_statements(
    records: tuple[Record, ...], ids: tuple[str, ...]
) -> None:
    """Its recorded claims are judged, and the reason is listed."""
    item = items_of(records)["RLS-01"]
    false = {"relation": "differs", "holds": False}
    played = PlayedBack(records=played_of(records, **false), reasons={item: "asked for more"})
    found = replace_played(ids, records, played)
    assert found.others == {"RLS-01": "asked for more"}
    assert "RLS-01" not in found.criteria
    assert found.changes == {}
    assert _of(found.records, item) == _of(records, item)


def _of(records: Sequence[Record], item: str) -> list[Record]:
    return [one for one in records if getattr(one, "item", None) == item]


def test_redacted_answers_make_no_difference(
    records: tuple[Record, ...], ids: tuple[str, ...]
) -> None:
    """Statements that differ after a redacted answer are no finding; equal ones are played back."""
    items = items_of(records)
    given = frozenset(items.values())
    same = PlayedBack(records=played_of(records), reasons={}, redacted=given)
    assert replace_played(ids, records, same).others == {}
    other = PlayedBack(records=played_of(records, got="7"), reasons={}, redacted=given)
    found = replace_played(ids, records, other)
    assert (found.others, found.changes) == ({"RLS-01": REDACTED}, {})


def test_check_that_the_folder_lacks_is_listed(
    records: tuple[Record, ...], ids: tuple[str, ...]
) -> None:
    """A check without a record of a playback keeps its statements."""
    item = items_of(records)["RLS-01"]
    rest = tuple(one for one in played_of(records) if getattr(one, "item", None) != item)
    found = replace_played(ids, records, PlayedBack(records=rest, reasons={}))
    assert found.others == {"RLS-01": NO_CHECK}


def test_playback_that_did_not_reach_its_end_is_none(
    records: tuple[Record, ...], ids: tuple[str, ...]
) -> None:
    """Claims without the end of their check replace nothing."""
    item = items_of(records)["RLS-01"]
    rest = tuple(
        one for one in played_of(records) if not (isinstance(one, PhaseEvent) and one.item == item)
    )
    found = replace_played(ids, records, PlayedBack(records=rest, reasons={}))
    assert list(found.others) == ["RLS-01"]


# --- the list ------------------------------------------------------------------------------------

OTHERS: Mapping[str, str] = {"A-1": "opens a socket", "A-2": "reads a file"}


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        pytest.param("# why\nA-1 opens a socket\n\nA-2\n", [], id="equal"),
        pytest.param("A-1\nA-2\nA-4\n", [], id="not-run"),
        pytest.param("A-1\n", ["A-2: got no playback, expected one: reads a file"], id="grown"),
        pytest.param(
            "A-1\nA-2\nA-3\n", ["A-3: got a playback, expected none; remove"], id="shrunk"
        ),
        pytest.param("A-1\nA-2\nA-9\n", ["A-9: got a criterion that the catalogue"], id="unknown"),
    ],
)
def test_list_of_those_that_cannot_be_played_back_may_only_shrink(
    tmp_path: Path, text: str, findings: list[str]
) -> None:
    """A criterion that is missing on the list and one that is too much are findings."""
    path = tmp_path / "list.txt"
    path.write_text(text)
    found = list(Listed.read(path).findings(OTHERS, ("A-3",), ("A-1", "A-2", "A-3", "A-4")))
    assert [one.startswith(start) for one, start in zip(found, findings, strict=True)] == [
        True
    ] * len(findings)


def test_list_has_each_criterion_once(tmp_path: Path) -> None:
    """A list that names a criterion twice is bad input."""
    path = tmp_path / "list.txt"
    path.write_text("A-1 x\nA-1 y\n")
    with pytest.raises(BadInputError, match="got A-1 twice"):
        Listed.read(path)


def test_playing_back_needs_what_runs_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An auditor who has this package alone learns which one to install."""
    monkeypatch.setattr(command, "entry_points", lambda **_: ())
    with pytest.raises(BadInputError, match="expected gateproof; install it"):
        find_play()
