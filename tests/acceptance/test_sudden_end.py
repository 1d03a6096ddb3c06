"""Settings and plugins that end a run without a bundle, or keep its checks from failing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateproof.description.sut import Sut
from gates.taxonomy.miniature import (
    COMMAND,
    NO_PROOFS,
    SOUND,
    Miniature,
    read_miniature,
    write_miniature,
)
from tests.acceptance.conftest import run_command
from tests.acceptance.test_bad_input import refused
from tests.acceptance.test_exit_status import SECOND

Start = Callable[..., Miniature]
TWO = ("MIN-01", "MIN-02")
DISTRIBUTED = pytest.mark.parametrize("processes", [(), ("-n", "1")], ids=["one", "distributed"])


@pytest.fixture
def start(tmp_path: Path, sut: Sut) -> Start:
    """Return a function that runs two checks, the second with a given body, and a plugin."""

    def run(
        body: str,
        *arguments: str,
        plugin: str = "",
        python: tuple[str, ...] = (sys.executable,),
        env: dict[str, str] | None = None,
    ) -> Miniature:
        write_miniature(sut, tmp_path, checks=SOUND + SECOND.format(body), ids=TWO)
        (tmp_path / "some_plugin.py").write_text(plugin, encoding="utf-8")
        command = [*python, *COMMAND[1:], *NO_PROOFS, "-p", "some_plugin", *arguments]
        done = run_command(command, folder=tmp_path, env=env)
        return read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)

    return run


@pytest.mark.parametrize(
    ("python", "env", "arguments"),
    [
        ((sys.executable,), {"PYTHONOPTIMIZE": "1"}, ()),
        ((sys.executable,), {"PYTHONOPTIMIZE": "2"}, ("-n", "1")),
        ((sys.executable, "-O"), {}, ()),
        ((sys.executable, "-OO"), {}, ("-n", "1")),
        ((sys.executable,), {}, ("-d", "--tx", f"popen//python={sys.executable} -O")),
    ],
    ids=["variable", "variable-distributed", "option", "option-distributed", "worker-alone"],
)
def test_python_without_asserts_is_refused(
    start: Start,
    tmp_path: Path,
    python: tuple[str, ...],
    env: dict[str, str],
    arguments: tuple[str, ...],
) -> None:
    """Without the asserts of helpers a check cannot fail: bad input, in each process of xdist."""
    ran = start("pass", *arguments, python=python, env=env)
    refused(ran, tmp_path, "PYTHONOPTIMIZE or python -O: got level")


def test_pytest_that_may_exit_suddenly_is_refused(start: Start, tmp_path: Path) -> None:
    """`faulthandler_exit_on_timeout` ends the process in C code, with 1 and without a bundle."""
    option = "faulthandler_exit_on_timeout"
    ran = start("pass", "-o", f"{option}=true", "-o", "faulthandler_timeout=60")
    refused(ran, tmp_path, f"{option}: got true, expected false")


FROM_A_THREAD = """import os, threading
    threading.Timer(0.2, os._exit, [1]).start()
    threading.Event().wait(30)"""


@pytest.mark.parametrize(
    "body",
    ["import os; os._exit(0)", "import os; os._exit(1)", FROM_A_THREAD],
    ids=["like-a-release", "like-a-violation", "thread"],
)
def test_check_that_exits_the_process_is_103_with_its_journal(
    start: Start, tmp_path: Path, body: str
) -> None:
    """Neither 0 nor 1 comes from `os._exit`; the caller is named, and the records are readable."""
    ran = start(body)
    assert ran.exit_status == 103, ran.output
    assert "gateproof: no bundle: os._exit(" in ran.output
    [folder] = (tmp_path / "reports").iterdir()
    note = (folder / "UNSEALED.txt").read_text(encoding="utf-8")
    assert "os._exit(" in note
    assert "run the gates" in note
    lines = (folder / "journals" / "main.jsonl").read_text(encoding="utf-8").splitlines()
    seen = [json.loads(line) for line in lines]
    assert [one for one in seen if one["kind"] == "observation" and one["criterion"] == "MIN-02"]


FORKS = """import os
    child = os.fork()
    if not child:
        os._exit(7)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 7, f"child: got {status}, expected 7" """


def test_forked_child_of_a_check_keeps_its_exit_status(start: Start) -> None:
    """Only the process that judges may not end by `os._exit`."""
    ran = start(FORKS)
    assert ran.judged("MIN-02") == ("pass", None), ran.output
    assert ran.exit_status == 100, "premise: only the proofs are missing"


TIMEOUT = """
import os, threading, types
import pytest

class Specs:
    @pytest.hookspec(firstresult=True)
    def pytest_timeout_set_timer(item, settings): pass
    @pytest.hookspec(firstresult=True)
    def pytest_timeout_cancel_timer(item): pass

def pytest_addhooks(pluginmanager):
    pluginmanager.add_hookspecs(Specs)

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_{stage}(item):
    settings = types.SimpleNamespace(timeout=1.5)
    item.ihook.pytest_timeout_set_timer(item=item, settings=settings)
    yield
    item.ihook.pytest_timeout_cancel_timer(item=item)

@pytest.hookimpl(trylast=True)
def pytest_timeout_set_timer(item, settings):
    item.timer = threading.Timer(settings.timeout, os._exit, [1])
    item.timer.start()
    return True

@pytest.hookimpl(trylast=True)
def pytest_timeout_cancel_timer(item):
    item.timer.cancel()
    return True
"""
"""The interface of pytest-timeout, version 2: its method `thread`, and where it sets its timer."""
WAITS = "import threading; threading.Event().wait(30)"


@DISTRIBUTED
@pytest.mark.parametrize("stage", ["protocol", "call"])
def test_limit_of_pytest_timeout_makes_a_check_inconclusive(
    start: Start, stage: str, processes: tuple[str, ...]
) -> None:
    """Its thread would end the process with 1; a time limit shows nothing about the claim."""
    ran = start(WAITS, *processes, plugin=TIMEOUT.replace("{stage}", stage))
    assert ran.exit_status == 100, ran.output
    assert ran.judged("MIN-01") == ("pass", None)
    assert ran.judged("MIN-02") == ("inconclusive", "to_investigate")
    assert "the limit of 1.5 s that pytest-timeout sets" in ran.verdict("MIN-02")["message"]


WARNS = """
import warnings

def pytest_configure():
    warnings.warn("the option some_scope is unset", DeprecationWarning)
"""


@DISTRIBUTED
def test_plugin_that_fails_before_the_session_is_named(
    start: Start, tmp_path: Path, processes: tuple[str, ...]
) -> None:
    """With -W error a plugin's warning ends pytest: the reason is named, nothing is left behind."""
    ran = start("pass", "-W", "error", *processes, plugin=WARNS)
    assert ran.exit_status == 3, ran.output
    [line] = [one for one in ran.output.splitlines() if one.startswith("gateproof: no bundle: ")]
    assert "DeprecationWarning: the option some_scope is unset" in line
    assert "some_plugin.py:5" in line
    assert list((tmp_path / "reports").iterdir()) == []


FAILS_LATER = """
import warnings

def pytest_runtest_logfinish(nodeid):
    if nodeid.endswith("test_sound"):
        warnings.warn("a hook is deprecated", DeprecationWarning)
"""


@DISTRIBUTED
def test_plugin_that_fails_between_checks_keeps_the_records(
    start: Start, processes: tuple[str, ...]
) -> None:
    """An internal error of pytest is 3; the bundle has the reason and what was judged before."""
    ran = start("pass", "-W", "error::DeprecationWarning", *processes, plugin=FAILS_LATER)
    assert ran.exit_status == 3, ran.output
    assert ran.run["exit_status"] == 3
    assert ran.judged("MIN-01") == ("pass", None)
    assert ran.judged("MIN-02")[0] == "notchecked"
    assert any("a hook is deprecated" in defect for defect in ran.run["defects"])
