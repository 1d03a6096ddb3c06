"""Both wheels in a clean venv, in a project whose folders have the names of this repository's."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

import pytest

from gates.taxonomy.miniature import CRITERION
from tests.acceptance.conftest import ROOT, run_command

OURS = ("gateproof", "_gateproof")
FOREIGN = ("harness", "evidence", "system", "gates")
CHECK = """
@criterion("MIN-01")
def test_python_answers(commands, sut):
    done = commands.run(["{python}", "--version"], env={{}}, folder=sut.folder)
    claim("exit status of Python", got=done.exit_status, expected=0)
"""
LISTS_PACK = """
import importlib, json, pkgutil
import gateproof.packs.celery_postgres as pack
names = [found.name for found in pkgutil.walk_packages(pack.__path__, f"{pack.__name__}.")]
for name in names:
    importlib.import_module(name)
print(json.dumps(names))
"""


@pytest.fixture(scope="session")
def clean_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scripts of a venv with both wheels, and links to the dependencies of this one."""
    folder = tmp_path_factory.mktemp("clean")
    wheels, others, venv = folder / "wheels", folder / "others", folder / "venv"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-index"]
    sources = [str(ROOT / name) for name in ("evidence", "harness")]
    _run([*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(wheels), *sources])
    _run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
    python = venv / "bin" / "python"
    _run([*pip, "--python", str(python), "install", *offline, *map(str, wheels.iterdir())])
    others.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(OURS):
            (others / path.name).symlink_to(path)
    [site] = venv.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(f"{others}\n", encoding="utf-8")
    script = f"#!{python}\nimport sys\nfrom pytest import console_main\nsys.exit(console_main())\n"
    (venv / "bin/pytest").write_text(script, encoding="utf-8")
    (venv / "bin/pytest").chmod(0o755)
    return venv / "bin"


@pytest.fixture
def project(tmp_path: Path, clean_bin: Path) -> Path:
    """Return a project with its own packages under the folder names of this repository."""
    for name in FOREIGN:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWN = True\n", encoding="utf-8")
    lines = ('name = "own"', 'root = "."', 'sources = ["system"]', 'gates = ["gates"]')
    (tmp_path / "sut.toml").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (tmp_path / "gates/criteria.toml").write_text(CRITERION.format(id="MIN-01"), encoding="utf-8")
    check = f"from gateproof import claim, criterion\n{CHECK.format(python=clean_bin / 'python')}"
    (tmp_path / "gates/test_miniature.py").write_text(check, encoding="utf-8")
    own = "import evidence, harness, system\n\ndef test_own():\n    assert harness.OWN\n"
    (tmp_path / "test_own.py").write_text(own, encoding="utf-8")
    return tmp_path


def _run(command: list[str], *, folder: Path = ROOT) -> str:
    done = run_command(command, folder=folder)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_wheels_judge_in_a_project_with_folders_of_the_same_names(
    clean_bin: Path, project: Path
) -> None:
    """Both ways to start pytest judge a check of three lines, and its bundle verifies."""
    options = ("--sut", "sut.toml", "--environment", "embedded", "--falsify", "none")
    for command in ([clean_bin / "pytest"], [clean_bin / "python", "-m", "pytest"]):
        done = run_command([*map(str, command), "gates", *options], folder=project)
        assert done.returncode == 100, done.stdout
        run = json.loads((project / "reports/latest/data/run.json").read_text(encoding="utf-8"))
        assert [one["outcome"] for one in run["criteria"]] == ["pass"]
        assert run["bindings"]["versions"]["gateproof"] == "0.3.0"
    assert "whole" in _run(
        [str(clean_bin / "gateproof"), "verify", "reports/latest"], folder=project
    )


def test_wheels_leave_other_tests_of_a_project_alone(clean_bin: Path, project: Path) -> None:
    """The project's own tests import its own packages, and pass."""
    for command in ([clean_bin / "pytest"], [clean_bin / "python", "-m", "pytest"]):
        output = _run([*map(str, command), "test_own.py"], folder=project)
        assert "1 passed" in output


def test_wheels_install_nothing_under_an_old_name(clean_bin: Path, tmp_path: Path) -> None:
    """Each wheel has one top-level package, its own."""
    old = ("harness", "evidence", "system", "migrations", "gates", "tests")
    code = f"import importlib.util as u; print([n for n in {old} if u.find_spec(n)])"
    assert _run([str(clean_bin / "python"), "-c", code], folder=tmp_path).strip() == "[]"
    [site] = clean_bin.parent.glob("lib/python*/site-packages")
    packages = {path.name for path in site.iterdir() if path.is_dir()} - {"__pycache__"}
    assert {name for name in packages if not name.endswith(".dist-info")} == {
        "gateproof",
        "gateproof_evidence",
    }


def test_wheel_has_the_gates_as_a_pack(clean_bin: Path, tmp_path: Path) -> None:
    """Every module of the gates can be imported from the wheel under the name of the pack."""
    names = json.loads(_run([str(clean_bin / "python"), "-c", LISTS_PACK], folder=tmp_path))
    modules = {
        path.relative_to(ROOT / "gates").with_suffix("").as_posix().replace("/", ".")
        for path in (ROOT / "gates").rglob("*.py")
        if path.name != "__init__.py"
    }
    pack = "gateproof.packs.celery_postgres"
    assert {f"{pack}.{name}" for name in modules} <= set(names)


def test_verification_imports_none_of_the_heavy_packages(clean_bin: Path, tmp_path: Path) -> None:
    """Verification imports no Celery, SQLAlchemy, psycopg, Docker or pytest, and no harness."""
    heavy = ("celery", "sqlalchemy", "psycopg", "psycopg2", "docker", "pytest", "gateproof")
    code = (
        "import sys\nfrom gateproof_evidence.cli import main\n"
        "status = main(['verify', 'nowhere'], standalone_mode=False)\n"
        f"print(status, [name for name in {heavy} if name in sys.modules])"
    )
    output = _run([str(clean_bin / "python"), "-c", code], folder=tmp_path)
    assert output.splitlines()[-1] == "4 []"


def test_plugin_imports_little_where_nothing_is_judged(clean_bin: Path, tmp_path: Path) -> None:
    """In a project without a catalogue pytest loads the options of the plugin and no other part."""
    (tmp_path / "conftest.py").write_text(
        "import sys\n"
        "def pytest_unconfigure():\n"
        "    ours = [n for n in sys.modules if n.split('.')[0].startswith('gateproof')]\n"
        "    print('LOADED', len(ours), 'pydantic' in sys.modules)\n",
        encoding="utf-8",
    )
    (tmp_path / "test_one.py").write_text("def test_one():\n    pass\n", encoding="utf-8")
    output = _run([str(clean_bin / "pytest"), "-q", "-s"], folder=tmp_path)
    [line] = [line for line in output.splitlines() if line.startswith("LOADED")]
    _, count, pydantic = line.split()
    assert int(count) <= 8, line
    assert pydantic == "False", line
