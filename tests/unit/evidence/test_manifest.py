"""Manifests and names: one list, one form, no path outside the bundle."""

from __future__ import annotations

import random

import pytest

from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.manifest import (
    ManifestError,
    format_manifest,
    parse_manifest,
    payload_oxum,
)
from gateproof_evidence.format.tree import File, _name_problem, collision_key, name_problem

HEX = "0" * 64


def file(path: str, content: bytes = b"") -> File:
    """Return a file as if it had been read."""
    return File(path=path, size=len(content), digest=digest_of(content), content=None)


def test_manifest_reads_back_what_was_written() -> None:
    """Paths with spaces and accents are kept, sorted by path."""
    files = [file("data/b c.txt", b"1"), file("data/á.txt", b"22"), file("data/a.txt")]
    parsed = parse_manifest(format_manifest(files))
    assert parsed == {one.path: one.digest for one in files}
    assert list(parsed) == sorted(parsed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEX}  data/a\n{HEX}  data/a\n", "line 2: got data/a twice"),
        (f"{HEX}  ../a\n", r"line 1: path '\.\./a': got an empty part, '\.' or '\.\.'"),
        (f"{HEX}  /etc/passwd\n", "line 1: path '/etc/passwd': got an empty part"),
        (f"{HEX} *data/a\n", "line 1: got .*, expected '<sha256>  <path>'"),
        (f"\\{HEX}  data/a\\nb\n", "line 1: got .*, expected '<sha256>  <path>'"),
        (f"{'0' * 63}  data/a\n", "line 1: got .*, expected"),
        (f"{'A' * 64}  data/a\n", "line 1: got .*, expected"),
        (f"{HEX}  data/a", "a last line without a line end"),
        ("", "a last line without a line end"),
    ],
)
def test_manifest_refuses_any_other_form(content: str, message: str) -> None:
    """A path twice, a path outside the bundle and other forms are refused, with the line."""
    with pytest.raises(ManifestError, match=message):
        parse_manifest(content.encode())


def test_manifest_refuses_bytes_that_are_not_text() -> None:
    """A manifest must be UTF-8."""
    with pytest.raises(ManifestError, match="not UTF-8"):
        parse_manifest(b"\xff\n")


def test_oxum_counts_the_payload_only() -> None:
    """The oxum counts only bytes and files under data/."""
    assert payload_oxum([file("data/a", b"123"), file("data/b"), file("bagit.txt", b"9")]) == "3.2"


@pytest.mark.parametrize("path", ["a", "data/a-b_c.1/é.txt", "data/.dot", "a b/c d"])
def test_name_is_allowed(path: str) -> None:
    """Plain relative paths in NFC are allowed."""
    assert name_problem(path) == ""


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "got 0 characters"),
        ("a" * 1025, "got 1025 characters"),
        ("/a", "empty part"),
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("./a", "empty part"),
        ("a/../b", "empty part"),
        ("a\\b", "printable characters"),
        ("a%2Fb", "printable characters"),
        ("a\nb", "printable characters"),
        ("a\u202eb", "printable characters"),
        ("a\u200bb", "printable characters"),
        ("a ", "spaces at the end"),
        ("a /b", "spaces at the end"),
        ("cafe\u0301", "decomposed Unicode form"),
    ],
)
def test_name_is_refused(path: str, problem: str) -> None:
    """A path that some system could read as another one is not allowed."""
    assert problem in name_problem(path)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("data/A", "data/a", True),
        ("stra\u00dfe", "STRASSE", True),
        ("\ufb01le", "file", True),
        ("data/a", "data/b", False),
    ],
)
def test_collision_key_ignores_case_and_unicode_form(one: str, other: str, *, alike: bool) -> None:
    """Names that differ only by case or Unicode form have the same key."""
    assert (collision_key(one) == collision_key(other)) is alike


PIECES = (
    "a",
    "Z9",
    "_",
    "-",
    ".",
    "..",
    "/",
    "con",
    "NUL",
    "com1",
    "lpt",
    "aux.txt",
    " ",
    "%",
    "é",
)


def test_plain_names_are_judged_as_by_each_rule_in_turn() -> None:
    """The short way for plain names gives the same answer as the rules, for joined pieces."""
    chosen = random.Random(20)
    paths = {
        "".join(chosen.choice(PIECES) for _ in range(chosen.randint(1, 6))) for _ in range(5000)
    }
    allowed = {path for path in paths if not _name_problem(path)}
    assert {path for path in paths if not name_problem(path)} == allowed
    assert 100 < len(allowed) < len(paths) - 100
    assert {name_problem(path) for path in paths} == {_name_problem(path) for path in paths}
