"""The files that a bundle is bound to: other checks do not pass for those of the commit."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import marshal
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateproof.description.sut import Sut
from gates.taxonomy.miniature import COMMAND, HEADER, Miniature, read_miniature, write_miniature
from tests.acceptance.conftest import GATEPROOF, ROOT, create_key, run_command
from tests.acceptance.test_exit_status import NEEDS_NO_DATABASE

COMMIT = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "-q", "-m", "all")
HELPED = NEEDS_NO_DATABASE.replace("from gateproof import", "import claims\nfrom gateproof import")


@dataclass(frozen=True, kw_only=True)
class Project:
    """A git repository with a system and its gates, and the options of its auditor."""

    folder: Path

    @property
    def commit(self) -> str:
        """The commit that is checked out."""
        return git(self.folder, "rev-parse", "HEAD")

    def gate(
        self,
        *arguments: str,
        folder: Path | None = None,
        path: str = "",
        program: Sequence[str] = COMMAND[1:3],
        gates: str = COMMAND[3],
    ) -> Miniature:
        """Run the gates of a folder, by default of this one, on the system.

        Args:
            arguments: further arguments of pytest.
            folder: the folder that contains the gates.
            path: further folders for PYTHONPATH.
            program: the arguments of Python that start pytest.
            gates: the folder or package that pytest collects.

        """
        where = folder or self.folder
        sut = str(self.folder / "sut.toml")
        options = ("--signing-key", str(self.folder.parent / "signer"), "--sut", sut)
        command = [COMMAND[0], *program, gates, *COMMAND[4:], *options, *arguments]
        done = run_command(command, folder=where, env={"PYTHONPATH": path})
        ran = read_miniature(where, exit_status=done.returncode, output=done.stdout)
        assert ran.exit_status == 0, ran.output
        assert ran.run["result"] == "released", ran.output
        return ran

    def audit(self, *options: str, folder: Path | None = None) -> tuple[int, str]:
        """Verify the newest bundle with the signer's key; return exit status and output."""
        bundle = (folder or self.folder) / "reports" / "latest"
        key = str(self.folder.parent / "signer.pub.pem")
        command = [*GATEPROOF, "verify", str(bundle), "--key", key, "--require-released"]
        done = run_command([*command, *options], folder=self.folder)
        return done.returncode, done.stdout

    @property
    def strict(self) -> Sequence[str]:
        """The options of an auditor who knows the commit."""
        return ("--require-clean", "--expect-commit", self.commit)


def git(folder: Path, *arguments: str) -> str:
    """Run a git command and return its output."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit_all(folder: Path) -> None:
    """Make a repository of a folder, and commit all its files."""
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, *COMMIT)


@pytest.fixture
def project(tmp_path: Path, sut: Sut) -> Project:
    """Return a committed project whose only check is proven."""
    folder = tmp_path / "project"
    for name in ("system", "migrations"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    write_miniature(sut, folder, checks=NEEDS_NO_DATABASE, ids=("MIN-01",))
    description = (folder / "system" / "sut.toml").read_text(encoding="utf-8")
    description = description.replace('root = ".."', 'root = "."')
    description = description.replace(', "system/gates"]', "]")
    (folder / "sut.toml").write_text(description, encoding="utf-8")
    (folder / ".gitignore").write_text("reports\n__pycache__\nclaims.py\n")
    commit_all(folder)
    create_key("signer", folder=tmp_path)
    return Project(folder=folder)


def trivial_gates(folder: Path, sut: Sut) -> Path:
    """Write one trivial check under a real criterion's words into another folder."""
    folder.mkdir()
    write_miniature(sut, folder, checks=NEEDS_NO_DATABASE, ids=("MIN-01",))
    catalogue = (ROOT / "gates" / "criteria.toml").read_text(encoding="utf-8")
    first = catalogue[catalogue.index("[[criterion]]") :].split("[[criterion]]")[1]
    name = next(line.split('"')[1] for line in first.splitlines() if line.startswith("id = "))
    (folder / "gates" / "criteria.toml").write_text(f"[[criterion]]{first}", encoding="utf-8")
    module = folder / "gates" / "test_miniature.py"
    module.write_text(module.read_text(encoding="utf-8").replace("MIN-01", name))
    return folder


def test_bundle_of_the_commit_meets_every_expectation(project: Project) -> None:
    """Committed gates of the same repository are accepted, and each part is listed."""
    ran = project.gate()
    bound = {one["part"]: one for one in ran.run["bindings"]["bound"]}
    assert set(bound) >= {"system", "description", "checks", "catalogue", "harness", "evidence"}
    assert bound["checks"]["path"] == "gates"
    catalogue = ("--expect-catalogue", "gates/criteria.toml")
    options = ("--expect-commit", project.commit, "--expect-checks", "gates", *catalogue)
    status, output = project.audit(*options)
    assert status == 0, output
    assert "checks       gates, 2 files: same commit, no change since its commit" in output
    assert "not compared" not in output
    digest = bound["checks"]["digest"]
    assert project.audit("--expect-checks", digest)[0] == 0
    assert "catalogue (--expect-catalogue FILE)" in project.audit("--expect-checks", digest)[1]


def test_checks_of_another_folder_are_not_taken_for_the_commits(
    project: Project, tmp_path: Path, sut: Sut
) -> None:
    """One trivial check outside the repository is no release of its commit, and is shown."""
    other = trivial_gates(tmp_path / "elsewhere", sut)
    project.gate(folder=other)
    status, output = project.audit(*project.strict, folder=other)
    assert status == 1, output
    assert "NOT_CLEAN attestation.dsse.json: files: got checks gates with neither" in output
    assert "COMMIT_MISMATCH attestation.dsse.json: commit: got checks gates of no commit" in output
    page = (other / "reports" / "latest" / "data" / "report.html").read_text(encoding="utf-8")
    head = page[: page.index("</header>")]
    assert "<td>gates</td>" in head
    assert "neither a commit nor a record to compare with" in head


def test_checks_of_another_repository_are_not_taken_for_the_commits(
    project: Project, tmp_path: Path, sut: Sut
) -> None:
    """Trivial checks that are committed elsewhere are clean, and not of the expected commit."""
    other = trivial_gates(tmp_path / "elsewhere", sut)
    commit_all(other)
    project.gate(folder=other)
    status, output = project.audit(*project.strict, folder=other)
    assert status == 1, output
    assert f"got checks gates of {git(other, 'rev-parse', 'HEAD')}" in output
    for option, value, code in (
        ("--expect-checks", "gates", "CHECKS_MISMATCH"),
        ("--expect-catalogue", "gates/criteria.toml", "CATALOGUE_MISMATCH"),
    ):
        status, output = project.audit(option, value, folder=other)
        assert status == 1, output
        assert output.startswith(code), output


@pytest.mark.parametrize("hidden", ["ignored", "unchanged", "helper", "uncommitted"])
def test_changed_checks_are_not_clean(project: Project, tmp_path: Path, hidden: str) -> None:
    """A changed check or helper is found where git status is silent, or shows another folder."""
    module, path = project.folder / "gates" / "test_miniature.py", ""
    if hidden == "ignored":
        module.write_text(HEADER + HELPED, encoding="utf-8")
        git(project.folder, *(*COMMIT, "-a"))
        (project.folder / "gates" / "claims.py").write_text("", encoding="utf-8")
    elif hidden == "helper":
        module.write_text(HEADER + HELPED, encoding="utf-8")
        git(project.folder, *(*COMMIT, "-a"))
        (tmp_path / "claims.py").write_text("", encoding="utf-8")
        path = str(tmp_path)
    else:
        if hidden == "unchanged":
            git(project.folder, "update-index", "--assume-unchanged", "gates/test_miniature.py")
        module.write_text(module.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    project.gate(path=path)
    status, output = project.audit("--require-clean")
    assert status == 1, output
    expected = {
        "helper": "other code claims.py with neither a commit nor a record",
        "unchanged": "tree: got uncommitted changes",
        "uncommitted": "tree: got uncommitted changes",
    }
    assert expected.get(hidden, "checks gates with changes since its commit") in output


def test_checks_that_change_during_the_run_are_a_defect(project: Project) -> None:
    """A file of the gates that differs at the end of the run leaves no single content to bind."""
    module = project.folder / "gates" / "test_miniature.py"
    changes = "    open(__file__, 'a').write('# a line\\n')\n"
    module.write_text(module.read_text(encoding="utf-8") + changes, encoding="utf-8")
    done = run_command(
        [sys.executable, *COMMAND[1:], "--sut", str(project.folder / "sut.toml")],
        folder=project.folder,
    )
    ran = read_miniature(project.folder, exit_status=done.returncode, output=done.stdout)
    assert ran.exit_status == 103, ran.output
    [defect] = ran.run["defects"]
    assert defect.startswith("checks gates: changed during the run: got sha256:")


FINDINGS = ("COMMIT_MISMATCH", "NOT_CLEAN")
PROGRAM = ("-c", "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))")


@pytest.mark.parametrize("place", ["repository", "compiled", "archive", "program"])
def test_code_outside_of_the_commit_is_found(project: Project, tmp_path: Path, place: str) -> None:
    """A plugin of another clean repository, or one that hides, and a program without a file."""
    other = tmp_path / "other"
    if place == "compiled":
        other = project.folder / "gates" / "__pycache__"
    other.mkdir()
    (other / "evil.py").write_text("WAS = 'here'\n", encoding="utf-8")
    path, arguments, program = str(other), ["-p", "evil"], COMMAND[1:3]
    if place == "repository":
        commit_all(other)
    elif place == "archive":
        path = shutil.make_archive(str(tmp_path / "evil"), "zip", other)
    elif place == "program":
        arguments, program = [], PROGRAM
    project.gate(*arguments, path=path, program=program)
    status, output = project.audit(*project.strict)
    assert status == 1, output
    expected = {
        "archive": "evil.zip",
        "program": "main program without a file",
    }
    found = "".join(line for line in output.splitlines() if line.split()[0] in FINDINGS)
    assert f"other code {expected.get(place, 'evil.py')} " in found, output


def test_compiled_check_is_not_run_for_its_source(project: Project, tmp_path: Path) -> None:
    """A compiled file that names time and size of its source, with other code, is not run."""
    module, seen = project.folder / "gates" / "test_miniature.py", tmp_path / "seen"
    text = module.read_text(encoding="utf-8") + f"\nopen({str(seen)!r}, 'w').close()\n"
    state = module.stat()
    head = struct.pack("<LLL", 0, int(state.st_mtime), state.st_size)
    code = marshal.dumps(compile(text, str(module), "exec"))
    (module.parent / "__pycache__").mkdir()
    tag = f"{sys.implementation.cache_tag}-pytest-{pytest.__version__}"
    compiled = module.parent / "__pycache__" / f"{module.stem}.{tag}.pyc"
    compiled.write_bytes(importlib.util.MAGIC_NUMBER + head + code)
    project.gate()
    assert not seen.exists(), "got a run of the compiled file, expected one of its source"


def test_hidden_change_of_a_file_outside_of_the_sources_is_not_clean(project: Project) -> None:
    """A tracked file that the index hides is compared, though no part of the run names it."""
    git(project.folder, "update-index", "--assume-unchanged", ".gitignore")
    with (project.folder / ".gitignore").open("a", encoding="utf-8") as file:
        file.write("more\n")
    project.gate()
    status, output = project.audit("--require-clean")
    assert (status, "tree: got uncommitted changes" in output) == (1, True), output


def test_commit_with_a_forged_folder_is_not_that_commit(project: Project) -> None:
    """An object of git with other content than its name stands for makes the commit unknown."""
    folder, module = project.folder, project.folder / "gates" / "test_miniature.py"
    commit, old = project.commit, git(project.folder, "rev-parse", "HEAD:gates")
    module.write_text(module.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    git(folder, "add", "gates")
    new = git(folder, "rev-parse", f"{git(folder, 'write-tree')}:gates")
    command = ["git", "-C", str(folder), "cat-file", "tree", new]
    tree = subprocess.run(command, check=True, capture_output=True).stdout
    path = folder / ".git" / "objects" / old[:2] / old[2:]
    path.chmod(0o644)
    path.write_bytes(zlib.compress(b"tree %d\0" % len(tree) + tree))
    assert (git(folder, "status", "--porcelain"), project.commit) == ("", commit)
    project.gate()
    status, output = project.audit(*project.strict)
    assert (status, "checks gates of no commit" in output) == (1, True), output


def test_checks_in_a_distribution_are_not_taken_for_the_commits(
    project: Project, tmp_path: Path
) -> None:
    """Checks that anyone could install are of no commit until the auditor names them."""
    site = tmp_path / "site-packages"
    shutil.copytree(project.folder / "gates", site / "pack")
    (site / "pack" / "__init__.py").write_text("")
    info = site / "pack-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pack\nVersion: 1.0\n")
    lines = [
        f"{path.relative_to(site)},sha256={_urlsafe(path)},{path.stat().st_size}\n"
        for path in sorted((site / "pack").iterdir())
    ]
    (info / "RECORD").write_text("".join(lines))
    project.gate("--pyargs", path=str(site), gates="pack")
    status, output = project.audit(*project.strict)
    assert (status, "got checks pack of no commit" in output) == (1, True), output
    expected = ("--expect-checks", str(site / "pack"))
    catalogue = ("--expect-catalogue", str(site / "pack" / "criteria.toml"))
    status, output = project.audit(*project.strict, *expected, *catalogue)
    assert status == 0, output


def _urlsafe(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
