"""The tutorials, and a how-to of steps: what a reader types and gets, one after the other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT, run_command
from tests.pages import ALONE, TUTORIALS, Block, blocks_of, page_name


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that has of a fresh clone what a tutorial uses."""
    folder = tmp_path / "clone"
    (folder / ".venv").mkdir(parents=True)
    for name in ("system", "migrations", "gates", "docs", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
    return folder


@pytest.mark.parametrize("page", TUTORIALS, ids=page_name)
def test_tutorial_steps_end_as_the_page_says(page: Path, clone: Path) -> None:
    """Files are written and commands run, in order, with the exit status and output of the page."""
    blocks = [block for block in blocks_of(page) if block.verb]
    assert sum(block.verb in ("run", "exit") for block in blocks) >= 5, "premise: it has commands"
    _follow_all(blocks, clone)


def test_how_to_prove_any_pytest_check_needs_nothing_but_its_files(tmp_path: Path) -> None:
    """In an empty folder the files and commands of the page give a released run."""
    project = tmp_path / "project"
    (project / ".venv").mkdir(parents=True)
    (project / ".venv/bin").symlink_to(Path(sys.executable).parent)
    blocks = [block for block in blocks_of(ALONE) if block.verb]
    verbs = [block.verb for block in blocks]
    assert verbs == ["file"] * 4 + ["run", "output", "run"], "premise: the page has these steps"
    _follow_all(blocks, project)
    run = json.loads((project / "reports/latest/data/run.json").read_text(encoding="utf-8"))
    [verdict] = run["criteria"]
    claimed = [(one["on"], one["got"], one["holds"]) for one in verdict["claims"]]
    assert claimed == [("100", '"120"', True), ("3", '"4"', True), ("3 3", '"8"', True)]
    assert run["environment"]["kind"] == "embedded"


def _follow_all(blocks: list[Block], folder: Path) -> None:
    output = ""
    for block in blocks:
        output = _follow(block, folder, output)


def _follow(block: Block, folder: Path, output: str) -> str:
    """Do what a block says, and return the output of the last command."""
    if block.verb == "file":
        path = folder / block.argument
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        return output
    if block.verb == "output":
        missing = _lines(block.text) - _lines(output)
        assert not missing, f"output: got {output}, expected {missing} in it"
        return output
    done = run_command(["sh", "-e", "-c", block.text], folder=folder)
    assert done.returncode == block.status, f"{block.text}{done.stdout}"
    return done.stdout


def _lines(text: str) -> set[str]:
    """Return the lines of a text, without regard to the width of columns."""
    return {" ".join(line.split()) for line in text.splitlines()} - {""}
