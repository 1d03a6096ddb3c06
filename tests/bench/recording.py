"""Compare recording 5,000 trivial checks in a bundle with pytest and its reporters.

``python -m tests.bench.recording``: pytest runs the same checks alone, with ``--junitxml``, with
pytest-html and with allure-pytest, and the gates run them with a sealed bundle (no JUnit, no
pytest-html). They take turns, each with no plugin except its own. There are two kinds of checks:
*bare* checks do nothing; *reading* checks read one file, which only the gates keep, as an
observation with its capture.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import string
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path

from tests.bench.measure import BenchError, Case, Row, compare, table

ROOT = Path(__file__).parents[2]
DESCRIPTION = 'name = "recording"\nroot = "."\nsources = ["claim.txt"]\n'
"""The description of the system that is recorded: it has no feature."""
PLAIN = "plain pytest"
GATES = "gates, sealed bundle"
AIM = 1.10
A_GATE = 99
"""The largest number of criteria with one id prefix."""

INCOMPLETE = 100
"""The exit status of a run without proofs."""

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
LEAN = (*PYTEST, "-p", "no:junitxml")

CRITERION = """
[[criterion]]
id = "{id}"
gate = "{gate}"
phase = "B0.1"
statement = "The trivial claim {id} holds."
source = "benchmark"
"""
BODIES = {
    "bare": ("", "    pass\n", "    pass\n"),
    "reading": (
        "files",
        '    assert files.read("claim.txt") == "kept", "claim: not kept"\n',
        '    claim("text of the file", got=files.read("claim.txt"), expected="kept")\n',
    ),
}
"""Kind to the arguments of its checks, and their body for plain pytest and for the gates."""
CONFTEST = """
import pathlib
import pytest

class Files:
    def read(self, name):
        return (pathlib.Path(__file__).parent / name).read_text(encoding="utf-8")

@pytest.fixture
def files():
    return Files()
"""


def main() -> None:
    """Measure and print; exit with 1 when the aim is missed and `--strict` is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--checks", type=int, default=5_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--folder", type=Path, help="where to work (default: temporary)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when an aim is missed")
    options = parser.parse_args()
    rows_of = {}
    for kind in BODIES:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            rows_of[kind] = measure(
                Path(folder), kind=kind, checks=options.checks, rounds=options.rounds
            )
        if not options.json:
            print(f"{options.checks} {kind} checks, {options.rounds} rounds")  # noqa: T201
            print(table(rows_of[kind], against="plain"), "\n")  # noqa: T201
    missed = [line for kind, rows in rows_of.items() for line in aims_missed(kind, rows)]
    if options.json:
        rows = {kind: [asdict(row) for row in rows] for kind, rows in rows_of.items()}
        print(json.dumps({"rows": rows, "missed": missed}, indent=2))  # noqa: T201 (its output)
    else:
        print("\n".join(missed) or "every aim holds")  # noqa: T201
    sys.exit(1 if options.strict and missed else 0)


def measure(folder: Path, *, kind: str, checks: int, rounds: int) -> tuple[Row, ...]:
    """Write the checks twice, as tests and as gates, and run all cases in turns."""
    gates, env = prepare(folder, kind=kind, checks=checks)
    cases = (*_plain_cases(folder / "plain"), gates_case(gates))
    return compare(cases, against=PLAIN, rounds=rounds, env=env)


def prepare(folder: Path, *, kind: str, checks: int) -> tuple[Path, Mapping[str, str]]:
    """Write the checks, and return the folder of the gates and the environment of all cases."""
    plain, gates = folder / "plain", folder / "gates"
    for place in (plain, gates / "gates"):
        place.mkdir(parents=True)
    for place in (plain, gates):
        (place / "claim.txt").write_text("kept", encoding="utf-8")
        (place / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    _write(plain, gates / "gates", kind, checks)
    (gates / "sut.toml").write_text(DESCRIPTION, encoding="utf-8")
    env = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("harness", "evidence")),
    }
    return gates, env


def aims_missed(kind: str, rows: tuple[Row, ...]) -> list[str]:
    """Return a line when the gates take too long compared with plain pytest."""
    [own] = [row for row in rows if row.name == GATES]
    line = f"{kind}: {own.wall_ratio} × plain pytest (cpu {own.cpu_ratio} ×), aim {AIM}"
    return [line] if own.wall_ratio > AIM else []


def gates_case(gates: Path) -> Case:
    """Return the run of the gates."""
    options = ("--no-falsify", "--environment", "embedded", "--sut", "sut.toml", "gates")
    return Case(
        name=GATES,
        command=(*LEAN, "-p", "gateproof.plugin", *options),
        folder=gates,
        status=INCOMPLETE,
        before=lambda: shutil.rmtree(gates / "reports", ignore_errors=True),
    )


def _plain_cases(plain: Path) -> Iterator[Case]:
    yield Case(name=PLAIN, command=LEAN, folder=plain)
    yield Case(name="--junitxml", command=(*PYTEST, "--junitxml=../junit.xml"), folder=plain)
    html = ("-p", "pytest_metadata.plugin", "-p", "pytest_html.plugin", "--html=../page.html")
    yield Case(name="pytest-html", command=(*LEAN, *html), folder=plain)
    if importlib.util.find_spec("allure_pytest") is None:
        raise BenchError("allure-pytest: got none, expected it; make bench installs it")
    results = plain.parent / "allure"
    allure = ("-p", "allure_pytest.plugin", f"--alluredir={results}")
    yield Case(
        name="allure-pytest",
        command=(*LEAN, *allure),
        folder=plain,
        before=lambda: shutil.rmtree(results, ignore_errors=True),
    )


def _write(plain: Path, gates: Path, kind: str, checks: int) -> None:
    asked, plain_body, gate_body = BODIES[kind]
    prefixes = ("".join(pair) for pair in product(string.ascii_uppercase, repeat=2))
    catalogue = []
    for start in range(0, checks, A_GATE):
        prefix = next(prefixes)
        gate = f"gate{prefix.lower()}"
        numbers = range(1, min(A_GATE, checks - start) + 1)
        heads = [f"def test_{n:02d}({asked}):\n" for n in numbers]
        tests = [f"{head}{plain_body}" for head in heads]
        (plain / f"test_{gate}.py").write_text("\n\n".join(tests), encoding="utf-8")
        ids = [f"{prefix}-{number:02d}" for number in numbers]
        marked = [
            f'@criterion("{name}")\n{head}{gate_body}'
            for name, head in zip(ids, heads, strict=True)
        ]
        source = "\n\n".join(["from gateproof import claim, criterion", *marked])
        (gates / f"test_{gate}.py").write_text(source, encoding="utf-8")
        catalogue += [CRITERION.format(id=name, gate=gate) for name in ids]
    (gates / "criteria.toml").write_text("".join(catalogue), encoding="utf-8")
    (plain / "conftest.py").write_text(CONFTEST, encoding="utf-8")


if __name__ == "__main__":
    main()
