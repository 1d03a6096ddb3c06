"""The origin of files: a commit or an installation, and whether they have changed since."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from gateproof.base.git import git, has_changes, read_checkout
from gateproof.base.origin import Origins
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.verification.source import (
    digest_of_files,
    read_expected_catalogue,
    read_expected_checks,
    source_files,
)

COMMIT = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "-q", "-m", "all")
CATALOGUE = """
[[criterion]]
id = "MIN-{:02}"
gate = "miniature"
phase = "B0.1"
statement = "The claim of the miniature holds."
source = "gate taxonomy"
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a committed repository with a folder of two checks."""
    root = tmp_path / "repository"
    (root / "gates" / "rls").mkdir(parents=True)
    (root / "gates" / "test_a.py").write_text("a = 1\n")
    (root / "gates" / "rls" / "test_b.py").write_text("b = 1\n")
    (root / ".gitignore").write_text("ignored.py\n")
    (root / "elsewhere.py").write_text("b = 2\n")
    for command in (("init", "-q"), ("add", "."), COMMIT):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    return root


def test_origin_of_committed_files_is_the_commit(repository: Path) -> None:
    """Files that equal the commit are clean, with their path from the repository's root."""
    bound = Origins().of_path("checks", repository / "gates")
    assert (bound.path, bound.files, bound.dirty) == ("gates", 2, False)
    assert bound.commit == git(repository, "rev-parse", "HEAD")
    assert Origins().of_path("checks", repository).path == "."


CHANGES = {
    "edited": "echo 'a = 2' > test_a.py",
    "added": "touch test_c.py",
    "ignored": "touch ignored.py",
    "removed": "rm test_a.py",
    "assumed unchanged": "git update-index --assume-unchanged test_a.py; echo 'a = 2' > test_a.py",
    "skipped": "git update-index --skip-worktree test_a.py; echo 'a = 2' > test_a.py",
    "a link outside": "mv test_a.py ../../outside.py; ln -s ../../outside.py test_a.py",
    "an ignored link inside": "ln -s ../elsewhere.py ignored.py",
    "a link in place of a file": "mv test_a.py ../kept.py; ln -s ../kept.py test_a.py",
    "a folder outside": "mkdir ../../more; touch ../../more/test_d.py; ln -s ../../more more",
}


@pytest.mark.parametrize("change", CHANGES)
def test_origin_finds_every_change(repository: Path, change: str) -> None:
    """Any difference from the commit counts, also one that git status does not show."""
    gates = repository / "gates"
    subprocess.run(["sh", "-e", "-c", CHANGES[change]], cwd=gates, check=True)
    assert Origins().of_path("checks", gates).dirty is True


def test_origin_ignores_compiled_files_and_other_folders(repository: Path) -> None:
    """Compiled files and changes outside of the folder leave it clean."""
    (repository / "gates" / "__pycache__").mkdir()
    (repository / "gates" / "__pycache__" / "test_a.pyc").write_text("x")
    (repository / "notes").write_text("x")
    bound = Origins().of_path("checks", repository / "gates")
    assert (bound.files, bound.dirty) == (2, False)


def test_origin_is_not_redirected_by_the_environment(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables and replaced objects that show another commit have no influence."""
    commit = git(repository, "rev-parse", "HEAD")
    other = tmp_path / "other"
    subprocess.run(["git", "init", "-q", str(other)], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    assert Origins().of_path("checks", repository / "gates").commit == commit
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    (repository / "gates" / "test_a.py").write_text("a = 2\n")
    for command in (
        ("add", "."),
        COMMIT,
        ("replace", str(commit), "HEAD"),
        ("reset", "-q", commit),
    ):
        subprocess.run(["git", "-C", str(repository), *map(str, command)], check=True)
    (repository / "gates" / "test_a.py").write_text("a = 2\n")
    bound = Origins().of_path("checks", repository / "gates")
    assert (bound.commit, bound.dirty) == (commit, True)


def test_origin_without_a_commit_is_unknown(tmp_path: Path) -> None:
    """Files in no repository, or in one without a commit, have no state; no path is recorded."""
    folder = tmp_path / "gates"
    folder.mkdir()
    (folder / "test_a.py").write_text("")
    for _ in range(2):
        bound = Origins().of_path("checks", folder)
        assert (bound.path, bound.commit, bound.dirty) == ("gates", None, None)
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert read_checkout(tmp_path) is None


@pytest.mark.parametrize("change", ["none", "edited", "added", "removed", "no digest"])
def test_origin_of_installed_files_is_the_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Installed files are compared with the RECORD; an edited, added or lost file is a change."""
    site = tmp_path / "site-packages"
    (site / "pack").mkdir(parents=True)
    (site / "pack-1.0.dist-info").mkdir()
    for name in ("pack/__init__.py", "pack/test_a.py"):
        (site / name).write_text("")
    empty = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    record = f"pack/__init__.py,sha256={empty},0\npack/test_a.py,sha256={empty},0\n"
    (site / "pack-1.0.dist-info" / "RECORD").write_text(record + "pack-1.0.dist-info/RECORD,,\n")
    (site / "pack-1.0.dist-info" / "METADATA").write_text("Name: pack\nVersion: 1.0\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    if change == "no digest":
        record = f"pack/__init__.py,sha256={empty},0\npack/test_a.py,,\n"
        (site / "pack-1.0.dist-info" / "RECORD").write_text(record)
    if change == "edited":
        (site / "pack" / "test_a.py").write_text("assert True")
    elif change == "added":
        (site / "pack" / "test_b.py").write_text("")
    elif change == "removed":
        (site / "pack" / "test_a.py").unlink()
    bound = Origins().of_path("checks", site / "pack")
    assert (bound.path, bound.distribution, bound.version) == ("pack", "pack", "1.0")
    assert bound.dirty is (change != "none")
    assert bound.record == digest_of((site / "pack-1.0.dist-info" / "RECORD").read_bytes())
    plugin = Origins().of_distribution("plugin", "pack")
    assert plugin is not None
    assert plugin.dirty is (change in ("edited", "removed", "no digest"))
    assert Origins().of_distribution("plugin", "no-such-distribution") is None


def test_digest_is_that_of_sha256sum(repository: Path) -> None:
    """The digest of a folder can be computed with find, sort and sha256sum alone."""
    left_out = "\\( -name __pycache__ -o -name .pytest_cache \\) -prune"
    line = f"find . {left_out} -o -type f -print | sed 's,^[.]/,,' | LC_ALL=C sort"
    command = f"{line} | xargs -d '\\n' sha256sum | sha256sum"
    done = subprocess.run(
        command, shell=True, cwd=repository / "gates", capture_output=True, text=True, check=True
    )
    assert read_expected_checks(str(repository / "gates")) == f"sha256:{done.stdout[:64]}"


def test_digest_follows_names_and_contents(tmp_path: Path) -> None:
    """A renamed file and a changed file give other digests; a loop of links ends."""
    (tmp_path / "a").write_text("1")
    first = digest_of_files(source_files(tmp_path))
    (tmp_path / "loop").symlink_to(tmp_path)
    assert digest_of_files(source_files(tmp_path)) == first
    (tmp_path / "a").rename(tmp_path / "b")
    second = digest_of_files(source_files(tmp_path))
    (tmp_path / "b").write_text("2")
    assert len({first, second, digest_of_files(source_files(tmp_path))}) == 3


def test_digest_leaves_out_what_python_and_pytest_write_next_to_checks(tmp_path: Path) -> None:
    """Folders of compiled files and of pytest's cache do not count, at any depth; others do."""
    (tmp_path / "a").write_text("1")
    first = digest_of_files(source_files(tmp_path))
    for folder in ("__pycache__", ".pytest_cache", "inner/.pytest_cache"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "b").write_text("2")
    assert digest_of_files(source_files(tmp_path)) == first
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/b").write_text("2")
    assert digest_of_files(source_files(tmp_path)) != first


def test_expected_checks_are_a_digest_or_a_folder(tmp_path: Path) -> None:
    """A digest is taken as it is; a path that is no folder with files is refused."""
    digest = f"sha256:{hashlib.sha256(b'').hexdigest()}"
    assert read_expected_checks(digest) == digest
    for text, got in (("nowhere", "neither"), (str(tmp_path), "a folder without files")):
        with pytest.raises(BadInputError, match=f"got {got}, expected a digest"):
            read_expected_checks(text)
    with pytest.raises(BadInputError, match="got neither"):
        read_expected_checks("sha256:abc")


def test_expected_catalogue_is_a_digest_or_files(tmp_path: Path) -> None:
    """Several files are one catalogue in their order; a digest stands alone."""
    for number in (1, 2):
        (tmp_path / f"{number}.toml").write_text(CATALOGUE.format(number))
    names = tuple(str(tmp_path / f"{number}.toml") for number in (1, 2))
    found = read_expected_catalogue(names)
    assert not isinstance(found, str)
    assert found.ids == ("MIN-01", "MIN-02")
    digest = found.digest
    assert read_expected_catalogue((digest,)) == digest
    with pytest.raises(BadInputError, match="expected one digest or only files"):
        read_expected_catalogue((digest, names[0]))
    with pytest.raises(BadInputError, match="nowhere"):
        read_expected_catalogue(("nowhere",))


def test_committed_link_is_no_change(repository: Path) -> None:
    """A link of the commit is followed; one with another target is a change."""
    link = repository / "gates" / "linked.py"
    link.symlink_to("../elsewhere.py")
    for command in (("add", "."), COMMIT):
        subprocess.run(["git", "-C", str(repository), *command], check=True)
    assert Origins().of_path("checks", repository / "gates").dirty is False
    assert has_changes(repository, read_checkout(repository)) is False
    link.unlink()
    link.symlink_to("rls/test_b.py")
    assert Origins().of_path("checks", repository / "gates").dirty is True


HIDDEN = {
    "index": "git update-index --skip-worktree elsewhere.py; echo c > elsewhere.py",
    "private rule": "echo GNUmakefile > .git/info/exclude; touch GNUmakefile",
    "filter": "git config filter.x.clean 'echo b = 2'; echo 'elsewhere.py filter=x' "
    "> .git/info/attributes; echo b = 3 > elsewhere.py",
}


@pytest.mark.parametrize("way", HIDDEN)
def test_checkout_has_changes_that_git_status_hides(repository: Path, way: str) -> None:
    """Flags of the index, rules of the clone alone, and filters hide nothing."""
    assert has_changes(repository, read_checkout(repository)) is False
    subprocess.run(["sh", "-e", "-c", HIDDEN[way]], cwd=repository, check=True)
    assert not git(repository, "status", "--porcelain")
    assert has_changes(repository, read_checkout(repository)) is True


def test_checkout_with_converted_files_is_whole(repository: Path) -> None:
    """Line ends that git converts, and large files of Git LFS, are no change."""
    digest = hashlib.sha256(b"large").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 5\n"
    (repository / "large.bin").write_text(pointer)
    for command in (("add", "."), COMMIT):
        subprocess.run(["git", "-C", str(repository), *command], check=True)
    (repository / "large.bin").write_bytes(b"large")
    (repository / "elsewhere.py").write_bytes(b"b = 2\r\n")
    checkout = read_checkout(repository)
    assert checkout is not None
    assert checkout.is_whole()
    (repository / "large.bin").write_bytes(b"other")
    assert not checkout.is_whole()


def test_checkout_elsewhere_is_none(repository: Path, tmp_path: Path) -> None:
    """A repository whose settings name another folder has no checkout of its own."""
    (tmp_path / "other").mkdir()
    git(repository, "config", "core.worktree", str(tmp_path / "other"))
    assert read_checkout(repository) is None
    assert Origins().of_path("checks", repository / "gates").commit is None
