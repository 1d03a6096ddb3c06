"""Forked processes equal those that were started cold, except for imported packages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gateproof.base.errors import HarnessError
from gateproof.base.wait import wait_until
from gateproof.environments.fork_server import ForkServer, may_fork
from gateproof.environments.process import ChildProcess, LocalLauncher

DEADLINE_S = 30.0
ABOUT_ITSELF = (
    "import json, os, sys;"
    "print(json.dumps({'argv': sys.argv, 'path': sys.path[:3], 'cwd': os.getcwd(),"
    "'env': dict(os.environ), 'session': os.getsid(0) == os.getpid(),"
    "'imported': sorted({'colorsys', 'wave'} & set(sys.modules)),"
    "'read': sys.stdin.read(), 'descriptors': sorted(os.listdir('/proc/self/fd'))}))"
)


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[LocalLauncher]:
    """A launcher that forks processes, with one imported package."""
    launcher = LocalLauncher(tmp_path, label={"LABEL": "this-run"}, warm=("colorsys",))
    yield launcher
    launcher.dispose()


def run(launcher: LocalLauncher, folder: Path, *words: str) -> tuple[int, str]:
    """Run Python and return its exit status and output."""
    command = [sys.executable, *words]
    search_path = os.pathsep.join((str(folder / "first"), str(folder / "second")))
    env = {"OWN": "1", "PYTHONPATH": search_path}
    done = launcher.run(command, env=env, folder=folder, deadline_s=DEADLINE_S)
    return done.exit_status, done.output


def test_forked_process_differs_only_in_imported_packages(
    warm: LocalLauncher, tmp_path: Path
) -> None:
    """Arguments, path, folder, environment, session and streams are as in a cold start."""
    cold = LocalLauncher(tmp_path, label={"LABEL": "this-run"}, prefix="cold-")
    (tmp_path / "asks.py").write_text(ABOUT_ITSELF, encoding="utf-8")
    for words in (("-c", ABOUT_ITSELF, "a", "b"), ("-m", "asks", "a", "b")):
        forked = json.loads(run(warm, tmp_path, *words)[1])
        started = json.loads(run(cold, tmp_path, *words)[1])
        assert (forked.pop("imported"), started.pop("imported")) == (["colorsys"], [])
        assert len(forked.pop("descriptors")) == len(started.pop("descriptors"))
        assert forked == started
        assert forked["env"]["OWN"] == "1"


@pytest.mark.parametrize("locale", [{}, {"LANG": "C.UTF-8"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}])
def test_forked_process_has_the_locale_of_a_cold_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locale: dict[str, str]
) -> None:
    """The environment is that of a cold start in every locale of this machine, also in none."""
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in locale.items():
        monkeypatch.setenv(name, value)
    cold = LocalLauncher(tmp_path, label={}, prefix="cold-")
    warm = LocalLauncher(tmp_path, label={}, warm=("colorsys",))
    try:
        forked, started = (
            json.loads(run(one, tmp_path, "-c", ABOUT_ITSELF)[1]) for one in (warm, cold)
        )
    finally:
        warm.dispose()
    assert forked["imported"] == ["colorsys"], "premise: it was forked"
    assert forked["env"] == started["env"]


READERS = {
    "getenv": "import os; os.getenv('OWN_SETTING')",
    "in": "import os; 'OWN_SETTING' in os.environ",
    "default": "import os; os.environ.setdefault('OWN_SETTING', 'as before')",
    "from": "from os import environ; environ.get('OWN_SETTING', '1')",
    "copy": "import os; dict(os.environ)",
    "nested": "import json, deeper.below",
}


@pytest.mark.parametrize("reader", READERS)
def test_process_with_another_value_of_what_a_package_read_starts_cold(
    tmp_path: Path, reader: str
) -> None:
    """In whatever way a package reads a variable while it is imported, another value is seen."""
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "below.py").write_text(READERS["getenv"], encoding="utf-8")
    (tmp_path / "reads_at_import.py").write_text(READERS[reader], encoding="utf-8")
    label = {"PYTHONPATH": str(tmp_path), "OWN_SETTING": "as before"}
    launcher = LocalLauncher(tmp_path, label=label, warm=("reads_at_import",))
    code = "import os, sys; print('reads_at_import' in sys.modules, os.getenv('OWN_SETTING'))"
    command = [sys.executable, "-c", code]
    try:
        outputs = [
            launcher.run(command, env=env, folder=tmp_path, deadline_s=DEADLINE_S).output.split()
            for env in ({}, {"OWN_SETTING": "another"}, {"OWN_SETTING": ""}, {"OTHER": "1"})
        ]
    finally:
        launcher.dispose()
    assert outputs[:3] == [["True", "as", "before"], ["False", "another"], ["False"]]
    assert outputs[3] == [str(reader != "copy"), "as", "before"]


def test_forked_process_has_its_time_zone(warm: LocalLauncher, tmp_path: Path) -> None:
    """A forked process uses the zone of its own variable TZ, and another one that of its own."""
    code = "import time; print(time.timezone, time.localtime(0).tm_hour)"
    outputs = []
    for zone in ("IST-5:30", "MST7", "UTC0"):
        command = [sys.executable, "-c", code]
        done = warm.run(command, env={"TZ": zone}, folder=tmp_path, deadline_s=DEADLINE_S)
        outputs.append(done.output.split())
    assert may_fork([sys.executable, "-c", code], {"TZ": "MST7"}), "premise: it was forked"
    assert outputs == [["-19800", "5"], ["25200", "17"], ["0", "0"]]


@pytest.mark.parametrize(
    ("code", "status", "printed"),
    [
        ("print('well')", 0, "well"),
        ("raise SystemExit(3)", 3, ""),
        ("import sys; sys.exit('no')", 1, "no"),
        ("raise ValueError('odd')", 1, "ValueError: odd"),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("import atexit; atexit.register(print, 'at the end')", 0, "at the end"),
    ],
)
def test_forked_process_exits_like_any_other(
    warm: LocalLauncher, tmp_path: Path, code: str, status: int, printed: str
) -> None:
    """Exit status and output are those of a separate interpreter."""
    found, output = run(warm, tmp_path, "-c", code)
    assert (found, printed in output) == (status, True), output


def test_code_is_read_after_the_fork(warm: LocalLauncher, tmp_path: Path) -> None:
    """A module that changed between two forks is read in its present state."""
    outputs = []
    for number in ("one", "another"):
        (tmp_path / "changing.py").write_text(f"print({number!r})", encoding="utf-8")
        outputs.append(run(warm, tmp_path, "-c", "import changing")[1].strip())
    assert outputs == ["one", "another"]


def test_forked_process_can_be_signalled_talked_to_and_cleaned_up(
    warm: LocalLauncher, tmp_path: Path
) -> None:
    """It receives signals and lines, is disposed of with its children, and has the run's label."""
    code = "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    process = warm.start("sleeper", [sys.executable, "-c", code], env={}, folder=tmp_path)
    assert isinstance(process, ChildProcess)
    assert wait_until(process.children, deadline_s=DEADLINE_S), process.output()
    child = psutil.Process(process.children()[0])
    assert psutil.Process(process.pid).environ()["LABEL"] == "this-run"
    process.signal("SIGTERM")
    other = warm.start("other", [sys.executable, "-c", code], env={}, folder=tmp_path)
    assert isinstance(other, ChildProcess)
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(0.05)
    process.wait(DEADLINE_S)
    assert process.exit_status == -signal.SIGTERM
    process.dispose()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    spoken = warm.converse([sys.executable, "-c", "print(input()[::-1])"], env={}, folder=tmp_path)
    spoken.stdin.write("olleh\n")
    spoken.stdin.flush()
    assert spoken.stdout.readline() == "hello\n"


def test_forked_process_has_its_session_when_it_is_returned(
    warm: LocalLauncher, tmp_path: Path
) -> None:
    """A caller that kills it at once finds it by its session, even before it runs."""
    code = "import time; time.sleep(600)"
    command = [sys.executable, "-c", code]
    sessions = []
    for _ in range(40):
        process = warm.start("sleeper", command, env={}, folder=tmp_path)
        sessions.append(os.getsid(process.pid) == process.pid)
        process.dispose()
    assert sessions == [True] * 40


def test_fork_server_ends_with_its_launcher(tmp_path: Path) -> None:
    """After disposal, neither it nor its processes exist."""
    launcher = LocalLauncher(tmp_path, label={"LABEL": "ends"}, warm=("colorsys",))
    code = "import time; time.sleep(600)"
    process = launcher.start("sleeper", [sys.executable, "-c", code], env={}, folder=tmp_path)
    pids = [process.pid, psutil.Process(process.pid).ppid()]
    assert os.getpid() not in pids
    launcher.dispose()
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("no_such_package", "No module named 'no_such_package'.*can be imported"),
        ("threading_at_once", "threads run.*take the package that starts it out"),
    ],
)
def test_package_that_cannot_be_warm_is_named(tmp_path: Path, package: str, message: str) -> None:
    """A package that is missing or starts a thread is refused, with a message of what to do."""
    (tmp_path / "threading_at_once.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
        encoding="utf-8",
    )
    env = {"PYTHONPATH": str(tmp_path)}
    server = ForkServer([package], env=env, folder=tmp_path)
    with pytest.raises(HarnessError, match=message):
        server([sys.executable, "-c", "pass"], env={}, folder=tmp_path, streams=(0, 1, 2))
    server.stop()


@pytest.mark.parametrize(
    ("words", "env", "forks"),
    [
        (["-m", "system.worker", "--pool=solo"], {"DSN": "x"}, True),
        (["-c", "pass"], {}, True),
        (["-m"], {}, False),
        (["-X", "importtime", "-c", "pass"], {}, False),
        (["program.py", "x"], {}, False),
        (["-m", "x"], {"PYTHONVERBOSE": "1"}, False),
        (["-m", "x"], {"LC_ALL": "C"}, False),
    ],
)
def test_only_equivalent_commands_are_forked(
    words: list[str], env: dict[str, str], *, forks: bool
) -> None:
    """Interpreter options, and variables that it reads at its start, need a cold start."""
    assert may_fork([sys.executable, *words], env) is forks
    assert not may_fork(["another-python", *words], env)


@pytest.mark.parametrize(
    ("found", "forks"),
    [
        ("something_else.py", True),
        ("colorsys.py", False),
        ("colorsys/__init__.py", False),
        ("sitecustomize.py", False),
    ],
)
def test_path_with_another_version_of_an_imported_package_starts_cold(
    tmp_path: Path, found: str, *, forks: bool
) -> None:
    """A forked process would use the packages of its server, and run no sitecustomize."""
    (tmp_path / "last" / found).parent.mkdir(parents=True)
    (tmp_path / "last" / found).touch()
    env = {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(tmp_path / "last")))}
    assert may_fork([sys.executable, "-c", "pass"], env, ("colorsys", "json.tool")) is forks
