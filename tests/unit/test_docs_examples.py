"""The examples of the documentation: their commands run, and their code compiles."""

from __future__ import annotations

import ast
import builtins
import importlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corpus.workshop import write_ssh_key
from tests.pages import ALONE, HOW_TOS, PAGES, ROOT, TUTORIALS, Block, blocks_of, page_name
from tests.sample import fixed_key, sealed

SCRIPTS = Path(sys.executable).parent
HEAD = ("**For**", "**You need**", "**You get**")
RUN = [page for page in PAGES if any(block.verb == "run" for block in blocks_of(page))]
PLANTED = ROOT / "tests/acceptance/planted_defects.toml"
SHORT = [page for page in RUN if page not in (*TUTORIALS, ALONE)]
ELSEWHERE = ("make ", "tar -xzf received", ".venv/bin/gateproof verify received", "sh evidence")
"""Commands of the README that other tests run: these install packages or take minutes, or need the
artifact of a run of the same commit, on which gate ci runs them."""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder as a reader has it after a run: a sealed bundle, keys and the commands."""
    reports = tmp_path / "reports"
    reports.mkdir()
    sealed(reports, failing=False).rename(reports / "20260301T120000Z-cccccccccccc")
    (reports / "latest").symlink_to("20260301T120000Z-cccccccccccc")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/bin").symlink_to(SCRIPTS)
    for name in ("team.pem", "team.key.pub.pem"):
        (tmp_path / name).write_bytes(fixed_key().public_pem)
    (tmp_path / ".ssh").mkdir()
    write_ssh_key(tmp_path / ".ssh/id_ed25519", 11)
    (tmp_path / ".ssh/id_ed25519").chmod(0o600)
    return tmp_path


def run_script(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run lines as ``sh -e`` in a folder, which is the home folder too."""
    path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-e", "-c", text],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("page", SHORT, ids=page_name)
def test_docs_commands_run(page: Path, workplace: Path) -> None:
    """The marked commands of a page run, one block after the other, with a bundle at hand."""
    for block in blocks_of(page):
        if block.verb in ("run", "exit"):
            done = run_script(block.text, workplace)
            assert done.returncode == block.status, f"{block.text}{done.stdout}{done.stderr}"


@pytest.mark.parametrize(("failing", "status"), [(False, 0), (True, 1)])
def test_how_to_command_for_signoffs_fails_for_a_phase_that_is_not_released(
    workplace: Path, failing: bool, status: int
) -> None:
    """Two sign-offs with reservations do not make a blocked phase pass the command of the page."""
    page = ROOT / "docs/how-to/sign-off.md"
    [command] = [block.text for block in blocks_of(page) if "--require-signoffs" in block.text]
    bundle = sealed(workplace / "reports", failing=failing)
    (workplace / "reports/latest").unlink()
    (workplace / "reports/latest").symlink_to(bundle.name)
    for number, name in enumerate(("ada", "bob", "eve"), start=11):
        write_ssh_key(workplace / name, number)
    for name in ("ada", "bob"):
        signed = (
            f"gateproof sign-off reports/latest --key {name} --identity {name}@example.org "
            "--phase B0.5.1 --run-key team.key.pub.pem --with-reservations 'as agreed in 4711'\n"
            f'echo "{name}@example.org $(cat {name}.pub)" >> allowed_signers'
        )
        done = run_script(signed, workplace)
        assert done.returncode == 0, done.stderr
    shutil.copy(workplace / "eve.pub", workplace / "revoked.krl")
    done = run_script(command, workplace)
    assert done.returncode == status, f"{done.stdout}{done.stderr}"
    assert "signed off by 2 persons" in done.stdout
    assert ("NOT_RELEASED" in done.stdout) is failing


def test_docs_commands_were_found() -> None:
    """The test above covers the pages that show how to read and verify a bundle."""
    names = {page_name(page) for page in SHORT}
    assert {"docs/how-to/sign-off.md", "docs/reference/report.md"} <= names


def test_readme_commands_run(workplace: Path) -> None:
    """Every command of the README runs on a sample bundle, except those that are run elsewhere."""
    lines = [
        line
        for block in blocks_of(ROOT / "README.md")
        if block.language == "sh"
        for line in block.text.splitlines()
        if line and not line.startswith(ELSEWHERE)
    ]
    assert len(lines) >= 4, "premise: the README shows commands"
    for line in lines:
        done = run_script(line, workplace)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_docs_code_compiles_and_imports_what_it_uses(page: Path) -> None:
    """Each Python example can be pasted as it stands: its imports resolve, no name is missing."""
    for block in blocks_of(page):
        if block.language == "python":
            tree = ast.parse(block.text)
            for module, name in _imported(tree):
                assert name in dir(importlib.import_module(module)), f"{page}: {module}.{name}"
            assert _unbound(tree) == set(), block.text


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_docs_tables_are_toml(page: Path) -> None:
    """Each TOML example is read without an error."""
    for block in blocks_of(page):
        if block.language == "toml":
            tomllib.loads(block.text)


@pytest.mark.parametrize("page", HOW_TOS, ids=page_name)
def test_how_to_begins_with_reader_need_and_result(page: Path) -> None:
    """A how-to says first who it is for, what is needed and what comes of it."""
    first = page.read_text(encoding="utf-8").partition("\n## ")[0]
    assert [word for word in HEAD if word not in first] == []


def test_docs_examples_are_judged_by_what_is_wrong_with_them() -> None:
    """A missing import is found, and so is a name that the package does not have."""
    assert _unbound(ast.parse("from gateproof import criterion\n\ncriterion(sql)\n")) == {"sql"}
    [(module, name)] = _imported(ast.parse("from gateproof import falsify\n"))
    assert name not in dir(importlib.import_module(module))


def test_planted_defects_still_fit_the_examples() -> None:
    """Each text that an acceptance test replaces is in its file exactly once.

    That test runs for minutes, and no example says that a text of it is quoted.
    """
    found = tomllib.loads(PLANTED.read_text(encoding="utf-8"))["defect"]
    edits = [(one["system"], edit) for one in found for edit in one["edits"]]
    assert len(edits) > len(found) > 10
    for system, edit in edits:
        text = (ROOT / "docs/examples" / system / edit["file"]).read_text(encoding="utf-8")
        assert text.count(edit["before"]) == 1, (system, edit)


def test_docs_block_with_an_unknown_mark_is_refused(tmp_path: Path) -> None:
    """A misspelt mark does not leave an example out of the tests."""
    page = tmp_path / "page.md"
    page.write_text("<!-- test: runs -->\n```sh\ntrue\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="got runs, expected one of run, exit"):
        blocks_of(page)
    page.write_text("<!-- test: exit 100 -->\n```sh\nfalse\n```\n", encoding="utf-8")
    expected = Block(language="sh", text="false\n", verb="exit", argument="100")
    assert blocks_of(page) == (expected,)


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def _unbound(tree: ast.AST) -> set[str]:
    """Return the names that an example reads and neither binds nor imports."""
    nodes = list(ast.walk(tree))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in node.names}
    read = {name.id for name in names if isinstance(name.ctx, ast.Load)}
    return read - bound - set(dir(builtins))
