"""Declarations of checks, and the refusal of invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof.faults.falsifier import is_specific
from gateproof.faults.setting import settings
from gateproof.faults.sql import sql
from gateproof.run.option import refuse_unwritable
from gateproof_evidence.errors import BadInputError


@pytest.mark.parametrize("name", ["drop-policy", "a", "v2-x9"])
def test_falsifier_name_that_is_a_slug_is_accepted(name: str) -> None:
    """A name has characters of a-z and 0-9, and single dashes."""
    assert settings(name, {}).name == name


@pytest.mark.parametrize("name", ["", "Drop", "a_b", "a--b", "-a", "../x", "a b", "<img>"])
def test_falsifier_name_that_is_not_a_slug_is_refused(name: str) -> None:
    """Names become file names and node ids, so all other names are refused."""
    with pytest.raises(BadInputError, match=r"falsifier name: got .*expected a slug"):
        settings(name, {})


@pytest.mark.parametrize(
    "expect",
    [
        "",
        "got",
        ":",
        "events: 2",
        "got      2",
        "got 1, expected 0",
        "premise: got none, expected at least one",
        "\uff47\uff4f\uff54 \uff45\uff58\uff50\uff45\uff43\uff54\uff45\uff44 2",
        "12345678901",
        ": got , expected : ",
    ],
)
def test_prediction_that_any_failure_meets_is_too_general(expect: str) -> None:
    """Short texts, house words, digits and punctuation tell no failure from another."""
    assert not is_specific(expect)


@pytest.mark.parametrize("expect", ["events: got 2", "rows of B: got", "TRIGGER, TRUNCATE"])
def test_prediction_that_names_its_object_is_specific(expect: str) -> None:
    """Ten characters with one word of the check's own are enough."""
    assert is_specific(expect)


def test_faults_describe_what_they_change() -> None:
    """The description has the statement with its role, or the variables in shell syntax."""
    fault = sql("drop", "DROP POLICY p ON t", landing="SELECT 1", role="superuser")
    assert fault.describe() == "as superuser: DROP POLICY p ON t"
    assert sql("x", "SELECT 1", landing="SELECT 1").describe() == "as the migration role: SELECT 1"
    assert settings("eager", {"B": "2", "A": "1"}).describe() == "A=1 B=2"


def test_evidence_folder_is_created_if_it_is_missing(tmp_path: Path) -> None:
    """A folder that does not exist yet is created and left empty."""
    refuse_unwritable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_evidence_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A file in place of the folder, or of its parent, is refused."""
    (tmp_path / "f").write_text("x")
    with pytest.raises(BadInputError, match="got a file, expected a folder"):
        refuse_unwritable(tmp_path / "f")
    with pytest.raises(BadInputError, match="cannot be written"):
        refuse_unwritable(tmp_path / "f" / "below")
