"""The catalogue and the waivers: strict files, and errors of one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.catalogue import (
    Catalogue,
    load_catalogue,
    load_catalogues,
    parse_catalogue,
)
from gateproof_evidence.format.waiver import load_all_waivers, load_waivers

CRITERION = """
[[criterion]]
id = "{id}"
gate = "{gate}"
phase = "B0.5.1"
severity = "high"
statement = "A tenant sees its own rows only"
source = "specification"
"""
WAIVER = """
[[waiver]]
criterion = "RLS-01"
reason = "The index comes with the next migration"
owner = "Ada"
expires = "2026-04-01"
"""


def entry(name: str, gate: str = "rls") -> str:
    """Return one criterion as TOML."""
    return CRITERION.format(id=name, gate=gate)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Provide the path of a file to write."""
    return tmp_path / "criteria.toml"


def test_catalogue_keeps_the_order_of_the_file(path: Path) -> None:
    """Criteria, ids and gates come in file order, and can be found by id."""
    path.write_text(entry("RLS-02") + entry("DLQ-01", "dlq") + entry("RLS-01"))
    catalogue = load_catalogue(path)
    assert catalogue.ids == ("RLS-02", "DLQ-01", "RLS-01")
    assert catalogue.gates == ("rls", "dlq")
    assert catalogue.by_id("DLQ-01").gate == "dlq"


def test_catalogue_digest_is_of_the_content(path: Path) -> None:
    """Comments and layout do not change the digest; a word of a statement does."""
    path.write_text(entry("RLS-01"))
    digest = load_catalogue(path).digest
    path.write_text("# a comment\n\n" + entry("RLS-01").replace(" = ", "="))
    assert load_catalogue(path).digest == digest
    path.write_text(entry("RLS-01").replace("only", "alone"))
    assert load_catalogue(path).digest != digest


def test_ids_gates_and_phases_are_chosen_freely(path: Path) -> None:
    """Ids of other catalogues, more than 99 of a gate, and several gates with one prefix."""
    ids = ["SOC2-CC6.1", "A", "7.2.1", *(f"R-{number}" for number in range(1, 121))]
    gates = ["soc2", "rls_read", "b-3", *["many"] * 120]
    text = "".join(entry(one, gate) for one, gate in zip(ids, gates, strict=True))
    path.write_text(text.replace('"B0.5.1"', '"2026-Q4"'))
    catalogue = load_catalogue(path)
    assert catalogue.ids == tuple(ids)
    assert {one.phase for one in catalogue.criteria} == {"2026-Q4"}
    assert parse_catalogue(catalogue.content) == catalogue


def test_catalogue_refuses_an_unknown_id(path: Path) -> None:
    """The error names the unknown id."""
    path.write_text(entry("RLS-01"))
    with pytest.raises(BadInputError, match="criterion id: got RLS-09, expected an id of"):
        load_catalogue(path).by_id("RLS-09")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            entry("RLS-02") * 2,
            "criterion id: got RLS-02 twice, expected each once",
            id="duplicate",
        ),
        pytest.param(
            entry("RLS-02") + entry("Rls-02"),
            "criterion id: got RLS-02, Rls-02, expected each once, whatever its case",
            id="other-case",
        ),
        pytest.param(
            entry("RLS-01", "con"),
            "criterion RLS-01: gate: got con, expected no name of a device of Windows",
            id="device",
        ),
        pytest.param(
            entry("NUL.2"),
            "criterion NUL.2: id: got NUL.2, expected no name of a device of Windows",
            id="device-id",
        ),
        pytest.param(
            entry("RLS-01", "Rls"), "criterion RLS-01: gate: got 'Rls', it should match", id="gate"
        ),
        pytest.param(entry("R" * 41), "id: got 'RRRRRRRR", id="long-id"),
        pytest.param(entry("A,B"), "criterion A,B: id: got 'A,B', it should match", id="comma"),
        pytest.param(entry("A:B"), "criterion A:B: id: got 'A:B', it should match", id="colon"),
        pytest.param(entry("../A"), "criterion ../A: id: got '../A'", id="path"),
        pytest.param(entry("A."), "criterion A.: id: got 'A.', it should match", id="dot-at-end"),
        pytest.param(
            entry("rls-1"), "criterion rls-1: id: got 'rls-1', it should match", id="id-form"
        ),
        pytest.param(
            entry("RLS-01") + 'note = "x"\n',
            "criterion RLS-01: note: got an unknown key",
            id="unknown-key",
        ),
        pytest.param(
            entry("RLS-01").replace('"high"', '"severe"'),
            "criterion RLS-01: severity: got 'severe', it should be 'low', 'medium' or 'high'",
            id="severity",
        ),
        pytest.param(
            entry("RLS-01").replace('"specification"', "3"),
            "criterion RLS-01: source: got 3, it should be a valid string",
            id="type",
        ),
        pytest.param(
            entry("RLS-01").replace('source = "specification"', ""),
            "criterion RLS-01: source: got nothing, expected a value; add it",
            id="missing",
        ),
        pytest.param("[[criterion]]\n", "criterion number 1: id: got nothing", id="without-an-id"),
        pytest.param("title = 1", "top level: got the key 'title'", id="top-level"),
        pytest.param("[criterion]\n", "criterion: got dict, expected [[criterion]]", id="table"),
        pytest.param("", "criteria: got none, expected at least one", id="empty"),
        pytest.param("[[criterion]", "TOML syntax: got", id="syntax"),
    ],
)
def test_catalogue_refuses_bad_input_in_one_line(path: Path, content: str, message: str) -> None:
    """Each error is one line with the file, the value and what to do."""
    path.write_text(content)
    with pytest.raises(BadInputError) as error:
        load_catalogue(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_catalogue_refuses_a_missing_file(path: Path) -> None:
    """A missing catalogue is bad input, never an empty one."""
    with pytest.raises(BadInputError, match="file: got No such file or directory"):
        load_catalogue(path)


def test_catalogue_refuses_bytes_that_are_not_text(path: Path) -> None:
    """The error for a file that is not UTF-8 names the encoding."""
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="TOML syntax: got 'utf-8' codec"):
        load_catalogue(path)


def test_catalogue_of_several_files_keeps_the_criteria_of_a_gate_together(tmp_path: Path) -> None:
    """The order is that of the files, except that a gate of the first file has all of its own."""
    one, other = tmp_path / "a.toml", tmp_path / "b.toml"
    one.write_text(entry("RLS-02") + entry("DLQ-01", "dlq"))
    other.write_text(entry("RLS-01") + entry("OWN-01", "own"))
    found = load_catalogues([one, other])
    assert found.ids == ("RLS-02", "RLS-01", "DLQ-01", "OWN-01")
    assert load_catalogues([one]).digest == load_catalogue(one).digest


def test_catalogue_of_several_files_refuses_an_id_of_two(tmp_path: Path) -> None:
    """The message names the id and both files."""
    one, other = tmp_path / "a.toml", tmp_path / "b.toml"
    one.write_text(entry("RLS-01"))
    other.write_text(entry("RLS-01"))
    with pytest.raises(BadInputError, match=f"{other}: .* got RLS-01, which {one} has too"):
        load_catalogues([one, other])


def test_catalogue_of_several_files_refuses_an_id_in_another_case(tmp_path: Path) -> None:
    """Two files cannot have ids that differ by case only."""
    one, other = tmp_path / "a.toml", tmp_path / "b.toml"
    one.write_text(entry("RLS-01"))
    other.write_text(entry("Rls-01", "own"))
    with pytest.raises(BadInputError, match=f"{other}: criterion id: got Rls-01, which {one} has"):
        load_catalogues([one, other])


# --- waivers -----------------------------------------------------------------------------------


def test_waivers_of_a_missing_file_are_none(path: Path, catalogue: Catalogue) -> None:
    """Without the file nothing is waived."""
    assert load_waivers(path, catalogue) == ()


@pytest.mark.parametrize("expires", ['"2026-04-01"', "2026-04-01"])
def test_waivers_are_read_with_text_or_date(path: Path, catalogue: Catalogue, expires: str) -> None:
    """A date may be text or TOML's own date."""
    path.write_text(WAIVER.replace('"2026-04-01"', expires))
    (waiver,) = load_waivers(path, catalogue)
    assert (waiver.criterion, waiver.owner, waiver.expires) == ("RLS-01", "Ada", "2026-04-01")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('reason = "The index comes with the next migration"', "", "reason: got nothing"),
        ("The index comes with the next migration", "", "reason: got '', it should have at least"),
        ("The index comes with the next migration", " " * 20, "reason: got only spaces"),
        ('owner = "Ada"', "", "owner: got nothing"),
        ('"Ada"', '""', "owner: got ''"),
        ('"Ada"', '"   "', "owner: got only spaces"),
        ('expires = "2026-04-01"', "", "expires: got nothing"),
        ("2026-04-01", "soon", "expires: got 'soon', it should match"),
        ("2026-04-01", "2026-02-30", "expires: got '2026-02-30', expected a valid date"),
        ("RLS-01", "RLS-99", "waiver criterion: got RLS-99, expected an id of the catalogue"),
        ('owner = "Ada"', 'owner = "Ada"\nby = "x"', "by: got an unknown key"),
    ],
)
def test_waivers_refuse_bad_input_in_one_line(
    path: Path, catalogue: Catalogue, old: str, new: str, message: str
) -> None:
    """A waiver without reason, owner or expiry, or for an unknown criterion, is refused."""
    path.write_text(WAIVER.replace(old, new))
    with pytest.raises(BadInputError) as error:
        load_waivers(path, catalogue)
    assert str(error.value).startswith(f"{path}: waiver ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_waivers_refuse_two_for_one_criterion(path: Path, catalogue: Catalogue) -> None:
    """Two waivers of one criterion could contradict each other."""
    path.write_text(WAIVER * 2)
    with pytest.raises(BadInputError, match="waiver criterion: got RLS-01 twice"):
        load_waivers(path, catalogue)


def test_waivers_of_several_files_refuse_two_for_one_criterion(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    """A waiver may be in any of the files, and the message names the second one."""
    one, other = tmp_path / "a.toml", tmp_path / "b.toml"
    one.write_text(WAIVER)
    assert [w.criterion for w in load_all_waivers([other, one], catalogue)] == ["RLS-01"]
    other.write_text(WAIVER)
    with pytest.raises(BadInputError, match=f"{other}: waiver criterion: got RLS-01 twice"):
        load_all_waivers([one, other], catalogue)
