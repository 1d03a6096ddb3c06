"""The command `python -m system.contracts` in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONTRACTS = ROOT / "system" / "contracts"
OPERATION = "      operationId: showExport\n"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "system.contracts", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the contracts."""
    return Path(shutil.copytree(CONTRACTS, tmp_path / "contracts"))


def change(folder: Path, before: str, after: str, *, domain: str = "export") -> None:
    """Change a part of a document that occurs once."""
    path = folder / domain / "openapi.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_check_of_the_committed_contracts_passes() -> None:
    """It reads nine contracts, has no finding, and needs no database and no broker."""
    done = run("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("9 contracts, 17 operations, ")
    assert done.stdout.endswith(": 0 errors, 0 warnings\n")


def test_check_reports_each_finding_on_a_line(folder: Path) -> None:
    """Status 1, and the message has the operation, the rule, got and expected."""
    change(folder, OPERATION, "")
    done = run("check", "--folder", folder)
    assert done.returncode == 1
    line = "export: GET /exports/{export_id}: operation-id: got none, expected an operationId"
    assert f"error: {line}\n" in done.stderr
    findings = json.loads(run("check", "--folder", folder, "--json").stdout)["findings"]
    assert [one["rule"] for one in findings if one["severity"] == "error"] == ["house"]
    assert run("check", "--folder", folder, "--rule", "examples").returncode == 0


def test_warning_alone_does_not_fail(folder: Path) -> None:
    """An added optional field is compatible; that the version stays the same is a warning."""
    field = "currency: { $ref: '../_common/v1/components.yaml#/components/schemas/Currency' }"
    change(folder, field, f"{field}\n        note: {{ type: string, maxLength: 9 }}")
    done = run("check", "--folder", folder)
    assert done.returncode == 0
    assert "warning: export: /info/version: version-not-raised" in done.stderr


def test_diff_shows_compatible_and_breaking_changes(folder: Path) -> None:
    """Status 1 for a breaking change; a compatible one is shown with status 0."""
    change(folder, "required: [subject, format, from, until]", "required: [subject, format, from]")
    compatible = run("diff", "export", "--folder", folder)
    assert compatible.returncode == 0
    assert "compatible: export: POST /exports/request/application/json.until" in compatible.stdout
    change(folder, "enum: [csv, jsonl]", "enum: [csv]")
    breaking = run("diff", "export", "--folder", folder)
    assert breaking.returncode == 1
    assert breaking.stdout.startswith("breaking: export: POST /exports/request/application/json")
    changes = json.loads(run("diff", "--folder", folder, "--json").stdout)["changes"]
    assert [one["name"] for one in changes["export"]] == ["enum-narrowed", "required-removed"]
    assert sorted(changes) == sorted({one.removesuffix("/") for one in changes})
    assert len(changes) == 9


def test_diff_compares_two_files(folder: Path, tmp_path: Path) -> None:
    """Two self-contained documents, of which one lacks an operation."""
    old = folder / "health/baselines/v1.0.0/openapi.json"
    document = json.loads(old.read_text(encoding="utf-8"))
    del document["paths"]["/metrics"]
    new = tmp_path / "new.json"
    new.write_text(json.dumps(document))
    assert run("diff", "--old", old, "--new", old).returncode == 0
    done = run("diff", "--old", old, "--new", new)
    assert done.returncode == 1
    assert "GET /metrics: operation-removed" in done.stdout


def test_baseline_releases_a_new_version_once(folder: Path) -> None:
    """The version is written with its digest; a second time it is refused."""
    change(folder, "  version: 1.0.0", "  version: 1.1.0")
    name = "export/baselines/v1.1.0/openapi.json"
    assert json.loads(run("baseline", "--all", "--folder", folder, "--json").stdout) == {
        "written": [name]
    }
    sums = subprocess.run(
        ["sha256sum", "-c", "baselines.sha256"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{name}: OK" in sums.stdout
    again = run("baseline", "export", "--folder", folder)
    assert again.returncode == 2
    assert "which exists and never changes, expected a new version" in again.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "--rule", "taste"), "'taste' is not one of 'validity'"),
        (("check", "--folder", "/nowhere"), "'/nowhere' does not exist"),
        (("check", "--folder", "migrations"), "which has no openapi.yaml, expected contracts"),
        (("diff", "payments"), "domain: got payments, expected one of attribution"),
        (("diff", "--old", "pyproject.toml"), "expected both and no DOMAIN"),
        (("diff", "--old", "README.md", "--new", "README.md"), "expected"),
        (("baseline",), "got neither or both, expected DOMAINs or --all"),
    ],
)
def test_wrong_usage_is_one_error_with_status_2(words: tuple[str, ...], message: str) -> None:
    """The last line names what was wrong, and no traceback is shown."""
    done = run(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [(), ("check",), ("diff",), ("baseline",)])
def test_help_is_shown(words: tuple[str, ...]) -> None:
    """Every command has help; the group's has the exit statuses."""
    done = run(*words, "--help")
    assert done.returncode == 0
    assert "Exit status: 0" in done.stdout or words
