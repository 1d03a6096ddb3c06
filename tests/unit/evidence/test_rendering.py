"""Rendering the report again from signed data: by command, and in verification."""

from __future__ import annotations

import ast
import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import jinja2
import pytest
from click.testing import CliRunner, Result

from gateproof_evidence.cli import main
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.layout import EXPORT_FOLDER, RUN
from gateproof_evidence.judging.judgement import Context
from gateproof_evidence.model import Waiver
from gateproof_evidence.model.finding import Code
from gateproof_evidence.reports.exports.interface import Export
from gateproof_evidence.reports.exports.registry import EXPORTS
from gateproof_evidence.reports.renderer import (
    MACRO,
    PACKAGE,
    PARTS,
    SAMPLE,
    TEMPLATES,
    environment,
    renderer_digest,
)
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.seal import seal
from gateproof_evidence.sealing.staged_journal import read_staged_journal
from gateproof_evidence.verification.bundle import verify
from gateproof_evidence.verification.expectation import Expectation
from tests.sample import fixed_key, sealed
from tests.unit.evidence.support import codes, reseal

REPORT = "data/report.html"
OTHER = "sha256:" + "e" * 64
PREFIX = "gateproof_evidence."
NOT_PARTS = {
    "format/archive/__init__.py": "no code",
    "format/archive/folder.py": "reading a folder",
    "format/archive/source.py": "reading in either form",
    "format/tree.py": "the rule for allowed names",
    "errors.py": "the classes of errors",
}
"""Modules that rendering imports, without effect on the page."""

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
    capture = bundle / "data/transcripts/rls/RLS-01.txt"
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
    assert found.report == "report and exports: rendered again from signed data: the same bytes"
    assert gateproof("verify", bundle).output.splitlines()[-1] == found.report


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


def _claim_release(bundle: Path, key: RunKey) -> None:
    """Write another result into the report, and seal it again with the run's key."""
    page = bundle / REPORT
    page.write_bytes(page.read_bytes().replace(b"Blocked", b"Released"))
    reseal(bundle, key)


@pytest.mark.parametrize("renderer", [OTHER, None], ids=["another", "none"])
def test_verify_compares_a_report_whatever_renderer_the_run_names(
    seal_with: SealWith, renderer: str | None
) -> None:
    """A report with the same bytes is verified: a library's patch release changes nothing."""
    done = gateproof("verify", seal_with(renderer), "--require-report")
    assert done.exit_code == 0, done.output
    last = "report and exports: rendered again from signed data: the same bytes"
    assert done.output.splitlines()[-1] == last


@pytest.mark.parametrize("made_by", [None, "0.0.9", "{own}", "; rm -rf"])
@pytest.mark.parametrize("export", EXPORTS, ids=lambda one: one.name)
def test_verify_finds_an_altered_export_whatever_renderer_the_run_names(
    context: Context, seal_with: SealWith, key: RunKey, made_by: str | None, export: Export
) -> None:
    """Neither an unknown renderer nor a false version turns the comparison of exports off."""
    _made_by(context, made_by)
    bundle = seal_with(OTHER)
    path = f"{EXPORT_FOLDER}{export.file}"
    (bundle / path).write_bytes((bundle / path).read_bytes() + b" ")
    reseal(bundle, key)
    done = gateproof("verify", bundle, "--json")
    assert done.exit_code == 1
    findings = [(one["code"], one["path"]) for one in json.loads(done.output)["findings"]]
    assert findings == [("EXPORT_MISMATCH", path)]


@pytest.mark.parametrize(
    ("made_by", "advice"),
    [
        ("0.0.9", "gateproof 0.0.9 made it; verify the bundle with gateproof 0.0.9, or read"),
        ("{own}", f"renderer {OTHER} made it; read the page that gateproof render makes"),
        ("1\nwhole", f"renderer {OTHER} made it; read the page that gateproof render makes"),
        (None, f"renderer {OTHER} made it; read the page that gateproof render makes"),
    ],
)
def test_verify_ends_with_report_not_verified(
    context: Context, seal_with: SealWith, key: RunKey, made_by: str | None, advice: str
) -> None:
    """A differing report of another renderer: the last line says why and what to do."""
    _made_by(context, made_by)
    bundle = seal_with(OTHER)
    _claim_release(bundle, key)
    done = gateproof("verify", bundle)
    assert done.exit_code == 0, done.output
    last = done.output.splitlines()[-1]
    assert last.startswith("report not verified: it differs from the page that gateproof ")
    assert advice in last
    assert json.loads(gateproof("verify", bundle, "--json").output)["report_verified"] is False


def test_verify_can_require_a_report_that_is_compared(seal_with: SealWith, key: RunKey) -> None:
    """With --require-report, a report that cannot be compared is a finding; also with others."""
    bundle = seal_with(OTHER)
    _claim_release(bundle, key)
    done = gateproof("verify", bundle, "--require-report")
    assert done.exit_code == 1
    assert done.output.startswith(f"REPORT_NOT_VERIFIED {REPORT}: got a report that was not")
    (bundle / "bag-info.txt").write_text("")
    found = verify(bundle, expect=Expectation(report=True))
    assert ("REPORT_NOT_VERIFIED", REPORT) in codes(found)
    assert "the data that it is rendered from has findings" in found.report


def test_verify_finds_a_report_that_is_missing_whatever_renderer(
    seal_with: SealWith, key: RunKey
) -> None:
    """No renderer makes no report, so the name of another one explains nothing."""
    bundle = seal_with(OTHER)
    (bundle / REPORT).unlink()
    reseal(bundle, key)
    assert codes(verify(bundle)) == {("REPORT_MISMATCH", REPORT)}


def _made_by(context: Context, made_by: str | None) -> None:
    context.bindings.versions.pop("gateproof", None)
    if made_by:
        context.bindings.versions["gateproof"] = made_by.format(own=version("gateproof-evidence"))


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
    assert "\nmade by gateproof 0.0.9, the signer states; " in done.stdout
    assert "The findings stand until that version verifies" in done.stdout
    (bundle / REPORT).write_text("altered")
    (bundle / RUN).write_text(content, encoding="utf-8")
    assert "made by gateproof" not in gateproof("verify", bundle).stdout, "no words explain this"


def test_verification_renders_nothing_that_has_findings(bundle: Path) -> None:
    """An altered capture is a finding, but not also the page that quotes it."""
    (bundle / "data/transcripts/rls/RLS-01.txt").write_text("altered")
    found = verify(bundle)
    assert Code.REPORT_MISMATCH not in {finding.code for finding in found.findings}
    assert found.report.startswith("report not verified: the data that it is rendered from has")


def test_renderer_digest_covers_all_that_rendering_imports() -> None:
    """The digest covers every module that rendering the page imports, and every template."""
    reached: set[str] = set()
    todo = ["reports/html.py"]
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


def test_verify_compares_the_report_under_another_release_of_a_library(
    bundle: Path, tmp_path: Path
) -> None:
    """A bundle verifies with its report where jinja2, markupsafe and pydantic_core are newer."""
    for name in ("jinja2", "markupsafe", "pydantic_core"):
        folder = tmp_path / "newer" / f"{name}-99.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
    done = subprocess.run(
        [sys.executable, "-m", "gateproof_evidence", "verify", str(bundle)],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "newer")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("rendered again from signed data: the same bytes")


def test_renderer_sample_has_every_construct_of_the_templates() -> None:
    """A release that changes what a template's construct gives changes the digest."""
    sample = _constructs(SAMPLE) | _constructs(MACRO)
    page = {
        construct
        for path in TEMPLATES.glob("report*.html")
        for construct in _constructs(path.read_text(encoding="utf-8"))
    }
    assert len(page) > 30, "premise: the templates were read"
    assert page - sample == set()


@pytest.mark.parametrize("name", ["round", "replace", "join", "map", "length", "min", "dictsort"])
def test_renderer_digest_changes_with_what_a_library_renders(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A filter that returns something else gives another renderer."""
    monkeypatch.setitem(jinja2.filters.FILTERS, name, lambda *_, **__: "<other>")
    try:
        changed = renderer_digest.__wrapped__()
    except (jinja2.TemplateError, TypeError):
        changed = "it does not render at all"
    assert changed != renderer_digest()


def test_renderer_digest_changes_with_escaping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that escapes in another form gives another renderer."""
    monkeypatch.setattr("markupsafe._escape_inner", lambda text: text.replace("<", "&#60;"))
    assert renderer_digest.__wrapped__() != renderer_digest()


def _constructs(source: str) -> set[str]:
    """Return the kinds of nodes, filters, tests and operators of a template, without ours."""
    rules = environment()
    found = set()
    for node in rules.parse(source).find_all(jinja2.nodes.Node):
        found.add(type(node).__name__)
        if isinstance(node, jinja2.nodes.Operand):
            found.add(f"operand {node.op}")
        if isinstance(node, jinja2.nodes.Filter) and node.name in rules.filters:
            found.add(f"filter {node.name}")
        if isinstance(node, jinja2.nodes.Test):
            found.add(f"test {node.name}")
    return found


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
