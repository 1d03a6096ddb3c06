"""A run that three machines judge, each a shard, and the merge of their bundles."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gateproof import wait_until
from gates.taxonomy.miniature import WITHOUT_OTHER_PLUGINS
from tests.acceptance.conftest import GATEPROOF, create_key, run_command

NONCE = "5eed" * 8
OF = 3
IDS = tuple(f"PRC-0{number}" for number in range(1, 7))
KEY, PUBLIC = "ci", "ci.pub.pem"
HOLD = "HOLD_FOLDER"
"""A check of shard 2 waits while this variable names a folder."""

SYSTEM = "RATES = {'PRC-01': 1, 'PRC-02': 2, 'PRC-03': 3, 'PRC-04': 4, 'PRC-05': 5, 'PRC-06': 6}\n"
CHECK = """
@criterion("{id}")
@falsified_by(
    source("other-rate", "rates.py", "'{id}': {number}", "'{id}': 9", imports=False),
    expect=("rate", "{id}", "got true"),
)
@falsified_by(
    source("no-rate", "rates.py", "'{id}': {number}", "'none': 0", imports=False),
    expect=("rate", "{id}", "got false"),
)
def test_rate_{number}(files):
    text = files.read("rates.py")
    hold("{id}")
    claim("rate", on="{id}", got="'{id}': 9" in text or "'{id}': {number}" in text, expected=True)
    claim("rate", on="{id}", got="'{id}': 9" in text, expected=False)
"""
HEADER = f"""
import os
import threading
from pathlib import Path

from gateproof import claim, criterion, falsified_by, source

def hold(name):
    folder = os.environ.get("{HOLD}")
    if folder and name == "PRC-02":
        Path(folder, "reached").write_text(str(os.getpid()))
        threading.Event().wait(120)
"""


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine of its own as far as this one can offer it: a network and a home folder."""

    project: Path
    home: Path

    def command(self, number: int, *arguments: str) -> list[str]:
        """Return the command that judges one shard on this host."""
        pytest = [sys.executable, "-m", "pytest", "gates", "-q", "-p", "no:cacheprovider"]
        pytest += [*WITHOUT_OTHER_PLUGINS, "--sut=sut.toml", "--environment=embedded"]
        pytest += [f"--evidence-out={self.home}/reports", f"--signing-key={KEY}"]
        pytest += [f"--shard={number}/{OF}", f"--nonce={NONCE}", *arguments]
        if not has_namespaces():
            return pytest
        return ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *pytest]

    def env(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a process on this host."""
        return {**os.environ, "HOME": str(self.home), "TMPDIR": str(self.home), **more}

    def judge(self, number: int, *arguments: str) -> Path:
        """Judge one shard and return its bundle."""
        done = subprocess.run(
            self.command(number, *arguments),
            cwd=self.project,
            env=self.env({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 100, done.stdout
        assert f"shard {number} of {OF} of run " in done.stdout
        return (self.home / "reports" / "latest").resolve()

    def start(self, number: int, hold: Path) -> subprocess.Popen[bytes]:
        """Start one shard, whose check then waits."""
        return subprocess.Popen(
            self.command(number),
            cwd=self.project,
            env=self.env({HOLD: str(hold)}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@cache
def has_namespaces() -> bool:
    """Return whether this user can make network namespaces."""
    command = ["unshare", "--net", "ip", "link", "set", "lo", "up"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a project with six checks and twelve proofs, committed, and a signing key."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "gates").mkdir()
    (folder / "rates.py").write_text(SYSTEM)
    (folder / "sut.toml").write_text('name = "rates"\nroot = "."\nsources = ["rates.py"]\n')
    criteria = "".join(
        f'[[criterion]]\nid = "{name}"\ngate = "rates"\nphase = "1.0"\n'
        f'statement = "Rate {name} is there."\nsource = "contract"\n'
        for name in IDS
    )
    (folder / "gates" / "criteria.toml").write_text(criteria)
    checks = "".join(CHECK.format(id=name, number=n) for n, name in enumerate(IDS, start=1))
    (folder / "gates" / "test_rates.py").write_text(HEADER + checks)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / ".gitignore").write_text("__pycache__/\nci*\n")
    for command in (
        ("init", "--quiet"),
        ("add", "."),
        ("commit", "--quiet", "-m", "Add the rates"),
    ):
        git(folder, *command)
    create_key(KEY, folder=folder)
    return folder


def git(folder: Path, *arguments: str) -> None:
    """Run git in a folder, as an author who has no settings."""
    names = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


def clone(project: Path, home: Path) -> Host:
    """Provide a host with a checkout of its own."""
    home.mkdir(mode=0o755)
    shutil.copytree(project, home / "project")
    return Host(project=home / "project", home=home)


@pytest.fixture(scope="module")
def hosts(project: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Host]:
    """Provide three hosts with a checkout each."""
    folder = tmp_path_factory.mktemp("hosts")
    return [clone(project, folder / f"host{number}") for number in range(1, OF + 1)]


@pytest.fixture(scope="module")
def bundles(hosts: list[Host]) -> list[Path]:
    """Provide the bundles of three shards, of which the second was killed at first."""
    killed_first = hosts[1]
    hold = killed_first.home / "hold"
    hold.mkdir()
    process = killed_first.start(2, hold)
    try:
        wait_until(lambda: (hold / "reached").exists(), deadline_s=60)
        # In a namespace the process is pytest itself: unshare and sh replace themselves.
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(30)
    left = [path.name for path in (killed_first.home / "reports").iterdir()]
    assert [name for name in left if not name.startswith(".unsealed-")] == []
    # Two processes on the first host: the division does not depend on their number.
    return [hosts[0].judge(1, "-n", "2"), hosts[1].judge(2), hosts[2].judge(3)]


def merge(project: Path, out: Path, *bundles: Path) -> subprocess.CompletedProcess[str]:
    """Merge bundles with the keys of the project; both streams are in one."""
    command = [*GATEPROOF, "merge", "--out", str(out), "--signing-key", KEY, "--key", PUBLIC]
    return run_command([*command, *map(str, bundles)], folder=project, limit_s=60)


def run_of(bundle: Path) -> dict[str, Any]:
    """Read the run.json of a bundle."""
    content = json.loads((bundle / "data" / "run.json").read_text())
    assert isinstance(content, dict)
    return content


def outcomes(run: dict[str, Any]) -> dict[str, str]:
    """Return the outcome of each criterion."""
    return {one["id"]: one["outcome"] for one in run["criteria"]}


def test_three_shards_are_merged_released_and_verified(
    project: Path, bundles: list[Path], tmp_path: Path
) -> None:
    """Each host judges its checks with their proofs; the union is one released run."""
    own = [
        [name for name, outcome in outcomes(run_of(one)).items() if outcome == "pass"]
        for one in bundles
    ]
    assert [len(one) for one in own] == [2, 2, 2]
    assert sorted(name for one in own for name in one) == sorted(IDS)
    done = merge(project, tmp_path / "merged", *bundles)
    assert done.returncode == 0, done.stdout
    run = run_of(tmp_path / "merged")
    assert (run["result"], run["bindings"]["nonce"]) == ("released", NONCE)
    assert {proof["result"] for one in run["criteria"] for proof in one["proofs"]} == {"proven"}
    command = [*GATEPROOF, "verify", "--key", PUBLIC, "--require-released"]
    command += ["--require-report", str(tmp_path / "merged")]
    checked = run_command(command, folder=project)
    assert checked.returncode == 0, checked.stdout
    assert "merged from 3 of 3 shards" in checked.stdout


def test_killed_shard_is_not_checked_until_it_ran_again(
    project: Path, bundles: list[Path], tmp_path: Path
) -> None:
    """The shard left no bundle when it was killed; with the one of its second run all is there."""
    done = merge(project, tmp_path / "merged", bundles[0], bundles[2])
    assert done.returncode == 100, done.stdout
    run = run_of(tmp_path / "merged")
    missing = {one["id"] for one in run["criteria"] if one["message"] == "shard 2 of 3 is missing"}
    assert run["result"] != "released"
    judged_by_2 = {name for name, one in outcomes(run_of(bundles[1])).items() if one == "pass"}
    assert missing == judged_by_2 == {n for n, o in outcomes(run).items() if o == "notchecked"}
    shutil.rmtree(tmp_path / "merged")
    (tmp_path / "merged.zip").unlink()
    assert merge(project, tmp_path / "merged", *bundles).returncode == 0


def test_shard_of_another_run_is_refused(
    project: Path, bundles: list[Path], tmp_path: Path
) -> None:
    """Another commit, an overlap and a foreign nonce each have their message; nothing is made."""
    other = clone(project, tmp_path / "other")
    (other.project / "rates.py").write_text(SYSTEM + "# more\n")
    git(other.project, "commit", "--quiet", "-a", "-m", "Add a comment")
    foreign = other.judge(3)
    cases = [(foreign, "commit: got ")]
    nonce = clone(project, tmp_path / "nonce")
    cases.append((nonce.judge(3, "--nonce=" + "0" * 32, f"--shard=3/{OF}"), "nonce: got 0000"))
    overlap = clone(project, tmp_path / "overlap")
    cases.append((overlap.judge(3, f"--shard-durations={_durations(tmp_path)}"), "criterion: PRC-"))
    for bundle, expected in cases:
        done = merge(project, tmp_path / "merged", bundles[0], bundles[1], bundle)
        assert done.returncode == 4, done.stdout
        assert expected in done.stdout
        assert not (tmp_path / "merged").exists()


def _durations(folder: Path) -> Path:
    """Write durations by which shard 3 judges other checks than by default."""
    items = [
        {"item": f"gates/test_rates.py::test_rate_{n}", "steps": {"check": {"wall_s": 10 - n}}}
        for n in range(1, 7)
    ]
    path = folder / "durations.json"
    path.write_text(json.dumps({"items": items}))
    return path
