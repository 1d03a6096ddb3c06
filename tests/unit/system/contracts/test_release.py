"""Released versions: written once, compared in order, and never changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from system.contracts.reading.contract import Version, load
from system.contracts.reading.document import DIGESTS, Library
from system.contracts.release import release
from system.contracts.rules.check import check
from system.contracts.rules.finding import Rule
from system.errors import ContractError

from .folder import SOUND, changed, write

COMPATIBILITY: tuple[Rule, ...] = ("compatibility",)
TOTAL = "total: { type: integer, minimum: 1, default: 1 }"
NOTE = f"note: {{ type: string }}\n        {TOTAL}"


def version(number: str, text: str = SOUND) -> str:
    """Return a document under another version."""
    return changed("version: 1.0.0", f"version: {number}", text)


def released(root: Path, *texts: str) -> Library:
    """Release documents of the domain one after the other; return the folder with the last."""
    for text in texts:
        library = write(root, text)
        release(library, load(library, "orders"))
    return Library(root)


def found(library: Library) -> list[tuple[str, str]]:
    """Return name and severity of each finding of the domain."""
    findings = check(library, COMPATIBILITY).findings
    return [(one.name, one.severity) for one in findings if one.document == "orders"]


def test_release_writes_the_document_with_its_shared_parts_and_its_digest(tmp_path: Path) -> None:
    """The baseline refers to no other file, so that it does not change with one."""
    tag = "tag: { $ref: '../common.yaml#/components/schemas/Tag' }"
    shared = changed(TOTAL, f"{tag}\n        {TOTAL}")
    library = write(tmp_path, shared)
    name = release(library, load(library, "orders"))
    assert name == "orders/baselines/v1.0.0/openapi.json"
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert "common.yaml" not in text
    assert '"#/components/schemas/Tag"' in text
    assert found(Library(tmp_path)) == []
    (tmp_path / "common.yaml").write_text(
        "components: { schemas: { Tag: { type: array, items: { type: integer } } } }"
    )
    assert ("type-narrowed", "error") in found(Library(tmp_path))


def test_released_version_is_not_written_again(tmp_path: Path) -> None:
    """A second release of one version is refused, and the file stays."""
    library = released(tmp_path, SOUND)
    path = tmp_path / "orders/baselines/v1.0.0/openapi.json"
    before = path.read_bytes()
    write(tmp_path, changed(TOTAL, NOTE))
    with pytest.raises(ContractError, match="exists and never changes, expected a new version"):
        release(library, load(Library(tmp_path), "orders"))
    assert path.read_bytes() == before


def test_empty_line_in_the_file_of_digests_is_nothing(tmp_path: Path) -> None:
    """An editor may add one at the end; any other line that is no digest is refused."""
    library = released(tmp_path, SOUND)
    with (tmp_path / DIGESTS).open("a") as file:
        file.write("\n")
    assert found(library) == []
    with (tmp_path / DIGESTS).open("a") as file:
        file.write("no digest\n")
    assert found(library) != []


def test_release_of_a_breaking_change_is_refused(tmp_path: Path) -> None:
    """A minor version over a break is refused, and nothing is written."""
    released(tmp_path, SOUND)
    library = write(tmp_path, version("1.1.0", changed(TOTAL, "total: { type: string }")))
    with pytest.raises(ContractError, match=r"expected none before a release; .*PUT /orders"):
        release(library, load(library, "orders"))
    assert ("type-narrowed", "error") in found(library)
    assert not (tmp_path / "orders/baselines/v1.1.0").exists()
    assert len((tmp_path / DIGESTS).read_text().splitlines()) == 1


def test_release_of_a_document_with_findings_is_refused(tmp_path: Path) -> None:
    """A document that breaks another rule is no version to compare with."""
    library = write(tmp_path, changed("minimum: 1", "minimun: 1"))
    with pytest.raises(ContractError, match="unknown-keyword"):
        release(library, load(library, "orders"))


def test_major_version_with_its_own_baseline_may_break(tmp_path: Path) -> None:
    """A breaking change under a new major number is allowed once that version is released."""
    breaking = version("2.0.0", changed(TOTAL, "total: { type: string, examples: [a] }"))
    breaking = breaking.replace("total: 3", "total: a").replace("total: 4", "total: a")
    released(tmp_path, SOUND)
    library = write(tmp_path, breaking)
    assert found(library) == [("baseline-missing", "error")]
    release(library, load(library, "orders"))
    assert found(Library(tmp_path)) == []


def test_break_between_two_released_versions_is_found(tmp_path: Path) -> None:
    """A version that was released by hand over a break does not hide it."""
    released(tmp_path, SOUND)
    write(tmp_path, version("1.1.0", changed(TOTAL, "total: { type: string }")))
    by_hand = load(Library(tmp_path), "orders")
    folder = tmp_path / "orders/baselines/v1.1.0"
    folder.mkdir()
    (folder / "openapi.json").write_text(json.dumps(by_hand.document))
    names = [name for name, _ in found(Library(tmp_path))]
    assert "type-narrowed" in names
    assert "baseline-altered" in names


def test_versions_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    """1.10.0 is later than 1.9.0: the last one counts."""
    library = released(tmp_path, version("1.9.0"), version("1.10.0", changed(TOTAL, NOTE)))
    assert found(library) == []
    assert ("property-removed", "error") in found(write(tmp_path, version("1.11.0")))
    ordered = [Version.parse(text) for text in ("1.9.0", "1.10.0", "2.0.0")]
    assert ordered == sorted(one for one in ordered if one)


@pytest.mark.parametrize("text", ["1.0", "v1.0.0", "1.0.0-rc1", "01.0.0", "1.0.0\n", "١.0.0", 1.0])
def test_version_of_another_form_is_none(text: object) -> None:
    """Only MAJOR.MINOR.PATCH in ASCII digits is a version."""
    assert Version.parse(text) is None


def test_lower_version_than_the_released_one_is_found(tmp_path: Path) -> None:
    """A document does not go back behind what clients have."""
    released(tmp_path, version("1.2.0"))
    assert found(write(tmp_path, version("1.1.0"))) == [("version-lowered", "error")]


def test_compatible_change_without_a_new_version_is_a_warning(tmp_path: Path) -> None:
    """It breaks no client, but the released number no longer names one document."""
    released(tmp_path, SOUND)
    assert found(write(tmp_path, changed(TOTAL, NOTE))) == [("version-not-raised", "warning")]
    assert found(write(tmp_path, version("1.1.0", changed(TOTAL, NOTE)))) == []


def alter(root: Path) -> None:
    """Change a released version."""
    path = root / "orders/baselines/v1.0.0/openapi.json"
    path.write_text(path.read_text().replace("Orders", "orders"))


def remove(root: Path) -> None:
    """Remove a released version, and keep its record."""
    write(root, version("1.1.0"))
    release(Library(root), load(Library(root), "orders"))
    (root / "orders/baselines/v1.0.0/openapi.json").unlink()
    (root / "orders/baselines/v1.0.0").rmdir()


def forget(root: Path) -> None:
    """Remove the records."""
    (root / DIGESTS).unlink()


@pytest.mark.parametrize("change", [alter, remove, forget], ids=lambda one: one.__name__)
def test_released_version_that_changed_is_found(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    """An altered, a removed and an unrecorded version are errors."""
    released(tmp_path, SOUND)
    change(tmp_path)
    assert ("baseline-altered", "error") in found(Library(tmp_path))


def test_digests_of_another_form_are_a_finding(tmp_path: Path) -> None:
    """A line that sha256sum does not write is not passed over."""
    released(tmp_path, SOUND)
    (tmp_path / DIGESTS).write_text("all is well\n")
    assert found(Library(tmp_path)) == [("unreadable", "error")]


def test_folder_of_another_name_among_the_versions_is_found(tmp_path: Path) -> None:
    """A version is the name of its folder and the version in its document."""
    released(tmp_path, SOUND)
    (tmp_path / "orders/baselines/v1.0.0").rename(tmp_path / "orders/baselines/v1.0.1")
    assert ("baseline-version", "error") in found(Library(tmp_path))


def test_domain_that_was_removed_with_its_versions_is_found(tmp_path: Path) -> None:
    """The record of digests says what was released, so a domain is not dropped in silence."""
    released(tmp_path, SOUND)
    for path in sorted((tmp_path / "orders").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert found(Library(tmp_path)) == [("contract-removed", "error")]
