"""A run with `--changed` repeats what depends on a change, and takes the rest over.

Owns a small system without a database. Each test changes one thing and compares what ran with what
depends on it; an item that is taken over although it depends on the change would be a stale result.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateproof import wait_until
from gates.taxonomy.miniature import Miniature, read_miniature
from tests.acceptance.conftest import GATEPROOF, create_key, run_command

FILES = {
    "sut.toml": """
version = 2
name = "kiosk"
root = "."
python = "{python}"
sources = ["kiosk", "data"]
""",
    "pytest.ini": "[pytest]\n",
    "kiosk/__init__.py": "",
    "kiosk/price.py": """
RATE = 3

def price(count):
    return count * RATE

def unused(count):
    return count

class Till:
    def open(self):
        return "open"
""",
    "kiosk/stock.py": """
def stock():
    with open("data/stock.txt") as file:
        return file.read().strip()
""",
    "kiosk/report.py": """
import sys
from kiosk.price import price
from kiosk.stock import stock

if __name__ == "__main__":
    print(price(2) if sys.argv[1] == "price" else stock())
""",
    "data/stock.txt": "7\n",
    "data/notes.txt": "nothing\n",
    "gates/__init__.py": "",
    "gates/criteria.toml": """
[[criterion]]
id = "KSK-01"
gate = "kiosk"
phase = "one"
severity = "high"
statement = "Two cost six."
source = "test"

[[criterion]]
id = "KSK-02"
gate = "kiosk"
phase = "one"
severity = "high"
statement = "The stock is that of the file."
source = "test"
""",
    "gates/helper.py": """
def printed(commands, sut, word):
    command = [sut.interpreter, "-m", "kiosk.report", word]
    return commands.run(command, env={}, folder=sut.folder).output.strip()
""",
    "gates/test_price.py": """
from gateproof import claim, criterion, falsified_by, source
from .helper import printed

@criterion("KSK-01")
@falsified_by(
    source("dearer", "kiosk/price.py", "RATE = 3", "RATE = 4", imports=False),
    expect=("price", "two", "got 8"),
)
@falsified_by(
    source("cheaper", "kiosk/price.py", "count * RATE", "count", imports=False),
    expect=("price", "two", "got 2"),
)
def test_price(commands, sut):
    claim("price", on="two", got=printed(commands, sut, "price"), expected="6")
""",
    "gates/test_stock.py": """
from gateproof import claim, criterion, falsified_by, source
from .helper import printed

@criterion("KSK-02")
@falsified_by(
    source("forgotten", "kiosk/stock.py", "file.read().strip()", "'0'", imports=False),
    expect=("stock", "file", "got 0"),
)
def test_stock(commands, sut, files):
    wanted = (files.read("data/stock.txt") or "").strip()
    claim("stock", on="file", got=printed(commands, sut, "stock"), expected=wanted)
""",
}
PRICE = {"KSK-01", "KSK-01:dearer", "KSK-01:cheaper"}
STOCK = {"KSK-02", "KSK-02:forgotten"}
ALL = PRICE | STOCK


@dataclass(frozen=True, kw_only=True)
class Kiosk:
    """The system with its gates, and a bundle of a run of everything."""

    folder: Path
    bundle: Path

    def run(self, *arguments: str) -> Miniature:
        """Run the gates, and return the run."""
        command = [sys.executable, "-m", "pytest", "gates", "--sut", "sut.toml", "-q"]
        command += ["--environment", "embedded", "-p", "no:cacheprovider"]
        command += ["--signing-key", "key", *arguments]
        done = run_command(command, folder=self.folder)
        return read_miniature(self.folder, exit_status=done.returncode, output=done.stdout)

    def changed(self, *arguments: str, since: Path | None = None) -> Miniature:
        """Run what has changed since the bundle."""
        bundle = str(since or self.bundle)
        return self.run(
            "--changed", "--proofs-from", bundle, "--proofs-key", "key.pub.pem", *arguments
        )

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Change a file; a new one begins empty."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(change(path.read_text() if path.exists() else ""))

    @property
    def latest(self) -> Path:
        """The last bundle."""
        return (self.folder / "reports/latest").resolve()


def ran(run: Miniature) -> set[str]:
    """Return the checks and proofs that ran and were not taken over."""
    items: set[str] = set()
    for verdict in run.run["criteria"]:
        if verdict["taken_over"] is None:
            items.add(verdict["id"])
        for proof in verdict["proofs"]:
            if proof["taken_over"] is None:
                items.add(f"{verdict['id']}:{proof['falsifier']}")
    return items


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Kiosk:
    """The system after one run of everything, which is released."""
    folder = tmp_path_factory.mktemp("kiosk")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.replace("{python}", sys.executable))
    create_key("key", folder=folder)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
        subprocess.run(["git", *identity, *words], cwd=folder, check=True)
    kiosk = Kiosk(folder=folder, bundle=folder)
    first = kiosk.run("-n", "2")
    assert first.exit_status == 0, first.output
    assert ran(first) == ALL
    return Kiosk(folder=folder, bundle=kiosk.latest)


@pytest.fixture
def kiosk(whole: Kiosk, tmp_path: Path) -> Kiosk:
    """A copy of the system that a test may change, with the bundle of the whole run."""
    shutil.copytree(whole.folder, tmp_path / "kiosk", symlinks=True)
    return Kiosk(folder=tmp_path / "kiosk", bundle=whole.bundle)


def replaced(before: str, after: str) -> Callable[[str], str]:
    """Return a change of a text that is in a file once."""

    def change(text: str) -> str:
        assert text.count(before) == 1, f"got {text.count(before)} of {before!r}, expected 1"
        return text.replace(before, after)

    return change


CHANGES: dict[str, tuple[str, Callable[[str], str], set[str]]] = {
    "nothing": ("README.md", lambda _: "changed", set()),
    "a comment": (
        "kiosk/price.py",
        replaced("RATE = 3", "# the rate\nRATE = 3"),
        PRICE - {"KSK-01"},
    ),
    "a function that one check runs": (
        "kiosk/price.py",
        replaced("return count * RATE", "count = int(count)\n    return count * RATE"),
        PRICE,
    ),
    "a function that no check runs": (
        "kiosk/price.py",
        replaced("return count\n", "return 0\n"),
        PRICE - {"KSK-01"},
    ),
    "a method that no check runs": (
        "kiosk/price.py",
        replaced('return "open"', "return 0"),
        PRICE - {"KSK-01"},
    ),
    "a function of the other module": (
        "kiosk/stock.py",
        replaced("file.read().strip()", "file.read().strip()  # .\n        return 1"),
        STOCK,
    ),
    "a module outside of its functions": (
        "kiosk/price.py",
        replaced("def price(count):", "def price(count, *_):"),
        ALL,
    ),
    "a new function": ("kiosk/stock.py", lambda text: f"{text}\ndef more():\n    pass\n", ALL),
    "a module that runs as a program": (
        "kiosk/report.py",
        replaced("price(2)", "price(1 + 1)"),
        ALL,
    ),
    "a new module": ("kiosk/more.py", lambda _: "", ALL),
    "a file that one check reads": ("data/stock.txt", lambda _: "8\n", STOCK),
    "a file that no check reads": ("data/notes.txt", lambda _: "more\n", set()),
    "the description": ("sut.toml", lambda text: f"{text}# .\n", ALL),
    "the module of a check": ("gates/test_price.py", lambda text: f"{text}# .\n", PRICE),
    "a helper of both checks": ("gates/helper.py", lambda text: f"{text}# .\n", ALL),
    "a file for all checks": ("gates/conftest.py", lambda _: "# .\n", ALL),
    "a criterion": ("gates/criteria.toml", replaced("Two cost six.", "Two cost 6."), ALL),
}


@pytest.mark.parametrize("name", CHANGES)
def test_change_repeats_what_depends_on_it(name: str, kiosk: Kiosk) -> None:
    """All that depends on the change ran; the rest is taken over, and the bundle verifies."""
    file, change, expected = CHANGES[name]
    kiosk.edit(file, change)
    again = kiosk.changed()
    assert ran(again) == expected, again.output
    assert again.exit_status == 0, again.output
    command = [*GATEPROOF, "verify", "--key", "key.pub.pem", "--require-released"]
    done = run_command([*command, str(kiosk.latest)], folder=kiosk.folder)
    assert done.returncode == 0, done.stdout


def test_changed_falsifier_is_proven_again(kiosk: Kiosk) -> None:
    """A change of what a falsifier does or predicts repeats what is in the same file."""
    kiosk.edit("gates/test_price.py", replaced('"RATE = 4"', '"RATE = 5"'))
    kiosk.edit("gates/test_price.py", replaced('"got 8"', '"got 10"'))
    again = kiosk.changed()
    assert ran(again) == PRICE, again.output
    assert again.exit_status == 0, again.output


def test_defect_is_found_although_most_is_taken_over(kiosk: Kiosk) -> None:
    """A change that breaks a claim fails its check; nothing of the other check is repeated."""
    kiosk.edit("kiosk/price.py", replaced("count * RATE", "count * RATE + 1"))
    again = kiosk.changed()
    assert again.exit_status == 1, again.output
    assert again.judged("KSK-01") == ("fail", "gate_violation")
    assert again.judged("KSK-02") == ("pass", None)
    assert not ran(again) & STOCK


def test_fixture_of_a_module_is_ended_before_the_next_module(whole: Kiosk, tmp_path: Path) -> None:
    """Of a module of which the last item is taken over, no fixture is left for the next one."""
    shutil.copytree(whole.folder, tmp_path / "kiosk", symlinks=True)
    kiosk = Kiosk(folder=tmp_path / "kiosk", bundle=whole.bundle)
    fixture = """
import pytest
@pytest.fixture(scope="module", autouse=True)
def held():
    assert not OPEN, "a fixture of another module is still there"
    OPEN.append("{name}")
    yield
    OPEN.remove("{name}")
"""
    for name in ("price", "stock"):
        file = kiosk.folder / f"gates/test_{name}.py"
        text = replaced("from .helper import", "from .helper import OPEN,")(file.read_text())
        file.write_text(text + fixture.format(name=name))
    kiosk.edit("gates/helper.py", lambda text: f"{text}\nOPEN = []\n")
    first = kiosk.run("--falsify", "KSK-01:cheaper")
    assert first.exit_status == 100, first.output
    again = kiosk.changed(since=kiosk.latest)
    assert again.exit_status == 0, again.output
    assert ran(again) == {"KSK-01:dearer", "KSK-02:forgotten"}
    # The use of the system by the fixture was recorded for the first item alone.
    kiosk.edit("data/notes.txt", lambda _: "more\n")
    again = kiosk.changed(since=kiosk.latest)
    assert ran(again) == ALL, again.output


def test_failed_check_is_never_taken_over(kiosk: Kiosk) -> None:
    """A check that failed in the bundle runs again, although nothing has changed since."""
    kiosk.edit("kiosk/price.py", replaced("count * RATE", "count * RATE + 1"))
    assert kiosk.run().exit_status == 1
    again = kiosk.changed(since=kiosk.latest)
    assert "KSK-01" in ran(again), again.output
    assert again.exit_status == 1


def test_takeover_is_shown_and_counts_again(kiosk: Kiosk) -> None:
    """The run lists what it took over and what ran; a third run takes over from the second."""
    kiosk.edit("data/stock.txt", lambda _: "8\n")
    second = kiosk.changed()
    line = "taken over: 1 check and 2 proofs from the bundle with attestation sha256:"
    assert line in " ".join(second.output.split())
    assert "ran: KSK-02 (check, 1 proof)" in " ".join(second.output.split())
    page = (kiosk.latest / "data/report.html").read_text(encoding="utf-8")
    assert "1 check and 2 proofs did not run here." in page
    command = [*GATEPROOF, "show", str(kiosk.latest), "--criterion", "KSK-01"]
    shown = run_command(command, folder=kiosk.folder)
    assert "from the bundle with attestation" in " ".join(shown.stdout.split()), shown.stdout
    third = kiosk.changed(since=kiosk.latest)
    assert ran(third) == set(), third.output
    assert third.exit_status == 0, third.output


def test_old_results_and_fresh_runs_take_nothing_over(kiosk: Kiosk) -> None:
    """With --proofs-max-age or --fresh everything runs; verification can refuse them as well."""
    assert ran(kiosk.changed("--proofs-max-age", "1s")) == ALL
    assert ran(kiosk.changed("--fresh")) == ALL
    kiosk.changed()
    command = [*GATEPROOF, "verify", "--key", "key.pub.pem", str(kiosk.latest)]
    old = [*command, "--max-takeover-age", "1s"]
    assert wait_until(lambda: run_command(old, folder=kiosk.folder).returncode, deadline_s=30)
    for options, code in (
        (["--max-takeover-age", "1s"], "TAKEOVER_TOO_OLD"),
        (["--max-takeover-age", "7d"], ""),
        (["--require-fresh"], "NOT_FRESH"),
    ):
        done = run_command([*command, *options], folder=kiosk.folder)
        assert done.returncode == bool(code), done.stdout
        assert code in done.stdout


def test_changed_without_a_bundle_is_refused(kiosk: Kiosk) -> None:
    """The message names the options that are missing."""
    again = kiosk.run("--changed")
    assert again.exit_status == 4
    assert "--changed: got no --proofs-from, expected" in " ".join(again.output.split())


@pytest.mark.parametrize(
    ("name", "selected"),
    [
        ("gates/test_price.py", PRICE),
        ("gates/helper.py", ALL),
        ("gates/more.toml", ALL),
        ("kiosk/stock.py", ALL),
        ("kiosk/new.py", ALL),
        ("sut.toml", ALL),
        ("README.md", set()),
    ],
)
def test_changed_since_a_commit_selects_and_takes_nothing_over(
    name: str, selected: set[str], kiosk: Kiosk
) -> None:
    """A change of gates selects the checks whose code it is; one of the system selects all."""
    kiosk.edit(name, lambda text: f"{text}# .\n")
    again = kiosk.run("--changed-since", "HEAD")
    found = {one["id"]: one for one in again.run["criteria"]} if again.run else {}
    ran_now = {name for name, one in found.items() if one["outcome"] == "pass"}
    ran_now |= {
        f"{name}:{proof['falsifier']}"
        for name, one in found.items()
        for proof in one["proofs"]
        if proof["result"] == "proven"
    }
    assert ran_now == selected, again.output
    assert again.exit_status == {len(ALL): 0, len(PRICE): 100, 0: 5}[len(selected)], again.output


def test_changed_since_an_unknown_commit_is_refused(kiosk: Kiosk) -> None:
    """The message names the commit; a bundle as well is refused, too."""
    again = kiosk.run("--changed-since", "0123abc")
    assert again.exit_status == 4, again.output
    assert "--changed-since: got 0123abc, expected a commit" in " ".join(again.output.split())
    again = kiosk.changed("--changed-since", "HEAD")
    assert again.exit_status == 4, again.output
    assert "got HEAD and a bundle, expected one" in " ".join(again.output.split())


def why(kiosk: Kiosk, *arguments: str) -> Any:
    """Return what `gateproof why` prints as JSON."""
    command = [*GATEPROOF, "why", *arguments, "--bundle", str(kiosk.bundle), "--json"]
    done = run_command(command, folder=kiosk.folder)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)["items"]


def test_why_names_what_an_item_depends_on_and_what_changed(kiosk: Kiosk) -> None:
    """Before a change nothing has changed; afterwards it names the function, file or part."""
    items = why(kiosk, "KSK-01")
    assert [one["item"] for one in items] == ["KSK-01", "KSK-01:cheaper", "KSK-01:dearer"]
    assert all(one["changed"] == [] and one["unknown"] == [] for one in items)
    assert "kiosk/price.py:price" in items[0]["uses"]
    assert "kiosk/price.py:unused" not in items[0]["uses"]
    kiosk.edit("kiosk/price.py", replaced("count * RATE", "count * RATE * 1"))
    kiosk.edit("gates/helper.py", lambda text: f"{text}# .\n")
    [check, *_] = why(kiosk, "KSK-01")
    assert check["changed"] == ["code of the check", "kiosk/price.py:price"]
    [stock] = why(kiosk, "KSK-02:forgotten")
    assert stock["changed"] == ["code of the check"]
