"""Rendering the report again from signed data: by command, and in verification."""

from __future__ import annotations

import ast
import html
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateproof_evidence.cli import main
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.layout import EXPORT_FOLDER, RUN
from gateproof_evidence.judging.judgement import Context
from gateproof_evidence.model import Waiver
from gateproof_evidence.model.finding import Code
from gateproof_evidence.reports.exports.registry import EXPORTS
from gateproof_evidence.reports.renderer import PACKAGE, PARTS, renderer_digest
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.seal import seal
from gateproof_evidence.sealing.staged_journal import read_staged_journal
from gateproof_evidence.verification.bundle import verify
from tests.sample import fixed_key, sealed
from tests.unit.evidence.support import codes, reseal

REPORT = "data/report.html"
OTHER = "sha256:" + "e" * 64
PREFIX = "gateproof_evidence."
NOT_PARTS = {
    "format/tree.py": "the rule for allowed names",
    "errors.py": "the classes of errors",
    "reports/terminal.py": "the table in the terminal, which is in no bundle",
}
"""Modules that rendering imports, without effect on the page or an export."""

SealWith = Callable[[str | None], Path]


@pytest.fixture
def seal_with(
    staging: Path,
    tmp_path: Path,
    catalogue: Catalogue,
    waivers: Sequence[Waiver],
    context: Context,
    key: RunKey,
    clock: Callable[[], datetime],
) -> SealWith:
    """Provide a function that seals the run with a renderer's digest."""

    def made_by(renderer: str | None) -> Path:
        bindings = context.bindings.model_copy(update={"renderer": renderer})
        return seal(
            staging,
            tmp_path / "bundle",
            journal=read_staged_journal(staging),
            catalogue=catalogue,
            waivers=waivers,
            context=replace(context, bindings=bindings),
            key=key,
            clock=clock,
        ).bundle

    return made_by


@pytest.fixture
def bundle(seal_with: SealWith) -> Path:
    """Provide a bundle that this renderer made."""
    return seal_with(renderer_digest())


def gateproof(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_render_gives_the_bytes_of_the_bundle(bundle: Path, tmp_path: Path) -> None:
    """The command writes the report to a file or standard output, without the sealed one."""
    before = (bundle / REPORT).read_bytes()
    (bundle / REPORT).unlink()
    done = gateproof("render", bundle, "--out", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "page.html").read_bytes() == before
    assert gateproof("render", bundle).stdout_bytes == before


def test_page_has_commands_that_can_be_pasted(tmp_path: Path) -> None:
    """Each line of *How to verify* works unchanged, and fails on an altered page."""
    bundle = sealed(tmp_path, failing=False)
    page = (bundle / REPORT).read_text(encoding="utf-8")
    [commands] = re.findall(r'<section id="verify">.*?<pre>\n(.*?)</pre>', page, re.DOTALL)
    lines = [line for line in html.unescape(commands).splitlines() if line]
    assert len(lines) == 5
    (tmp_path / "SIGNER.pem").write_bytes(fixed_key().public_pem)
    (tmp_path / "verify.sh").write_bytes((PACKAGE / "sealing/templates/verify.sh").read_bytes())
    assert [_paste(line.replace("BUNDLE", "bundle"), tmp_path) for line in lines] == [0] * 5
    (bundle / REPORT).write_text(page.replace("Released", "Blocked"), encoding="utf-8")
    (tmp_path / "report.html").unlink()
    statuses = [_paste(line.replace("BUNDLE", "bundle"), tmp_path) for line in lines]
    assert statuses == [1, 1, 1, 0, 1], "rendering again does not verify, comparing does"


def _paste(line: str, folder: Path) -> int:
    """Run a line in a shell, and return its exit status."""
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        line,
        shell=True,
        cwd=folder,
        env={**os.environ, "PATH": scripts},
        capture_output=True,
        check=False,
    )
    return done.returncode


def test_render_warns_of_another_renderer(seal_with: SealWith) -> None:
    """A bundle of another renderer is rendered, with a warning that names the renderer."""
    done = gateproof("render", seal_with(OTHER))
    assert done.exit_code == 0
    assert done.stderr == f"another renderer made the bundle's own report: {OTHER}\n"


@pytest.mark.parametrize("name", ["data/other.html", "report.html"])
def test_render_adds_nothing_to_a_bundle(bundle: Path, name: str) -> None:
    """An output file inside the bundle is refused: it would be an unlisted file."""
    done = gateproof("render", bundle, "--out", bundle / name)
    assert done.exit_code == 4
    assert "got a file inside the bundle" in done.output
    assert not (bundle / name).exists()


def test_render_follows_no_link_out_of_a_bundle(bundle: Path, tmp_path: Path) -> None:
    """A capture that is a link is shown as missing, because the bundle may be unverified."""
    (tmp_path / "secret").write_text("secret text")
    capture = next((bundle / "data/captures/rls/RLS-01").iterdir())
    capture.unlink()
    capture.symlink_to(tmp_path / "secret")
    page = gateproof("render", bundle).stdout
    assert "secret text" not in page
    assert "(this capture is missing)" in page


def test_render_needs_a_bundle(tmp_path: Path) -> None:
    """A folder without a run is bad input, in one line."""
    done = gateproof("render", tmp_path)
    assert done.exit_code == 4
    assert len(done.output.splitlines()) == 1


def test_verification_renders_the_report_again(bundle: Path) -> None:
    """With the same renderer the bytes are compared, and the output has a line about it."""
    found = verify(bundle)
    assert found.ok, found.findings
    assert found.report == "rendered again from signed data: the same bytes"
    assert f"report and exports: {found.report}" in gateproof("verify", bundle).output.splitlines()


def test_verification_finds_an_altered_report(bundle: Path, key: RunKey) -> None:
    """An altered report that is sealed again with the same key is found by its bytes."""
    path = bundle / REPORT
    path.write_bytes(path.read_bytes().replace(b"Blocked", b"Released"))
    reseal(bundle, key)
    found = verify(bundle, key=key.public_pem)
    assert codes(found) == {(Code.REPORT_MISMATCH.value, REPORT)}
    assert "other bytes in 1 of them" in found.report


def _left_out(path: Path) -> None:
    path.unlink()


def _more(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("change", [_left_out, _more])
@pytest.mark.parametrize("name", [REPORT, *(f"{EXPORT_FOLDER}{export.file}" for export in EXPORTS)])
def test_verification_finds_each_altered_file(
    bundle: Path, key: RunKey, name: str, change: Callable[[Path], None]
) -> None:
    """The report and every export are found if altered or missing, sealed by the same key."""
    change(bundle / name)
    reseal(bundle, key)
    code = Code.REPORT_MISMATCH if name == REPORT else Code.EXPORT_MISMATCH
    assert codes(verify(bundle, key=key.public_pem)) == {(code.value, name)}


def test_verification_finds_an_export_that_nothing_renders(bundle: Path, key: RunKey) -> None:
    """A file among the exports that is not an export is a finding."""
    name = f"{EXPORT_FOLDER}gaps-2.csv"
    (bundle / name).write_text('"criterion","gap"\r\n')
    reseal(bundle, key)
    assert codes(verify(bundle)) == {(Code.EXPORT_MISMATCH.value, name)}


def test_verification_expects_no_export_without_a_subject(
    staging: Path,
    tmp_path: Path,
    catalogue: Catalogue,
    waivers: Sequence[Waiver],
    context: Context,
    clock: Callable[[], datetime],
) -> None:
    """A run that is bound to nothing has no in-toto statement, and lacks none."""
    loose = context.bindings.model_copy(update={"commit": None, "system": None})
    unbound = seal(
        staging,
        tmp_path / "loose",
        journal=read_staged_journal(staging),
        catalogue=catalogue,
        waivers=waivers,
        context=replace(context, bindings=loose),
        key=RunKey.ephemeral(),
        clock=clock,
    ).bundle
    assert not list((unbound / EXPORT_FOLDER).glob("*.intoto.json"))
    found = verify(unbound)
    assert found.ok, found.findings
    assert "the same bytes" in found.report


@pytest.mark.parametrize(
    ("renderer", "note"),
    [(OTHER, "not rendered again: "), (None, "does not record its renderer")],
    ids=["another", "none"],
)
def test_verification_only_notes_another_renderer(
    seal_with: SealWith, key: RunKey, renderer: str | None, note: str
) -> None:
    """Another renderer's bytes are not a finding: their data is compared with the journal."""
    bundle = seal_with(renderer)
    with (bundle / EXPORT_FOLDER / "gaps.md").open("a") as file:
        file.write("as another version writes it\n")
    reseal(bundle, key)
    found = verify(bundle)
    assert found.ok
    assert note in found.report


@pytest.mark.parametrize(
    ("made_by", "expected"),
    [
        ("0.0.9", "got a bundle of gateproof 0.0.9, expected {own}; verify it with version 0.0.9"),
        ("{own}", "made by another renderer"),
        (None, "made by another renderer"),
    ],
)
def test_verification_names_the_version_that_compares_the_report(
    context: Context, seal_with: SealWith, made_by: str | None, expected: str
) -> None:
    """For a bundle of another version it says which one renders its report."""
    own = version("gateproof-evidence")
    context.bindings.versions.pop("gateproof", None)
    if made_by:
        context.bindings.versions["gateproof"] = made_by.format(own=own)
    found = verify(seal_with(OTHER))
    assert found.ok
    assert expected.format(own=own) in found.report


def test_verify_names_the_other_version_next_to_findings(
    context: Context, seal_with: SealWith, key: RunKey
) -> None:
    """A bundle of another version with findings exits 1 and says which version verifies it."""
    context.bindings.versions["gateproof"] = "0.0.9"
    bundle = seal_with(renderer_digest())
    assert "made by gateproof" not in gateproof("verify", bundle).stdout
    content = (bundle / RUN).read_text(encoding="utf-8")
    (bundle / RUN).write_text(content.replace("not selected", "left out"), encoding="utf-8")
    reseal(bundle, key)
    done = gateproof("verify", bundle)
    assert done.exit_code == 1
    assert "\nmade by gateproof 0.0.9: " in done.stdout


def test_verification_renders_nothing_that_has_findings(bundle: Path) -> None:
    """An altered capture is a finding, but not also the page that quotes it."""
    next((bundle / "data/captures/rls/RLS-01").iterdir()).write_text("altered")
    found = verify(bundle)
    assert Code.REPORT_MISMATCH not in {finding.code for finding in found.findings}
    assert "not rendered again" in found.report


def test_renderer_digest_covers_all_that_rendering_imports() -> None:
    """The digest covers every module that rendering imports, and every template."""
    reached: set[str] = set()
    todo = ["reports/html.py", "reports/exports/registry.py"]
    while todo:
        name = todo.pop()
        if name not in reached and name not in NOT_PARTS:
            reached.add(name)
            todo += _imported(name)
    templates = {path.name for path in (PACKAGE / "reports/templates").glob("report*")}
    assert set(PARTS) == reached | {f"reports/templates/{name}" for name in templates}


def test_renderer_digest_changes_with_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more byte in one part changes the digest."""
    for part in PARTS:
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes((PACKAGE / part).read_bytes())
    monkeypatch.setattr("gateproof_evidence.reports.renderer.PACKAGE", tmp_path)
    assert renderer_digest.__wrapped__() == renderer_digest()
    with (tmp_path / PARTS[-1]).open("a") as file:
        file.write(" ")
    assert renderer_digest.__wrapped__() != renderer_digest()


def _imported(name: str) -> list[str]:
    """Return the files of this package that one of them imports."""
    tree = ast.parse((PACKAGE / name).read_text())
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PREFIX):
            path = (node.module or "").removeprefix(PREFIX).replace(".", "/")
            is_package = (PACKAGE / path).is_dir()
            found.append(f"{path}/__init__.py" if is_package else f"{path}.py")
    return found
