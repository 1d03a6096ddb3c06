"""The parts of boundary faults that need no system: names, rules, the words of a fault."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gateproof import http, inject, logs
from gateproof.description.celery import PROBE_PING, PROBE_PREFIX
from gateproof.faults.boundary.inject import known_changes
from gateproof.faults.boundary.log import Filter
from gateproof.guest import program
from gateproof.probes.log import LogFilter
from gateproof.stack import guest_load

LINES = [json.dumps({"message": text, "n": number}) for number, text in enumerate("aba")]


def test_known_changes_are_those_of_the_guest() -> None:
    """The names are read from the text of the module, which the harness does not import."""
    named = re.findall(r'^    "([a-z-]+)": \w+,$', program("change"), re.MULTILINE)
    assert list(known_changes()) == named
    assert len(named) > 25


def test_guest_and_harness_agree_on_their_names() -> None:
    """Constants that both sides spell are equal, because neither imports the other."""
    loader, tasks = program("loader"), program("probe_tasks")
    assert f'MARK = "{guest_load.MARK}"' in loader
    for name in (guest_load.LOAD, guest_load.SYSTEM_LOADER, guest_load.REPORT):
        assert f'"{name}"' in loader
    assert f'PREFIX = "{PROBE_PREFIX}"' in tasks
    assert f'DSN_VARIABLES = "{guest_load.PROBE_DSN}"' in tasks
    assert f"class {PROBE_PING['fail_error']}(Exception)" in tasks


def test_faults_say_what_they_do() -> None:
    """The description has the change and its options, and no default."""
    assert inject("x", "forget-task", task="a.b").describe() == "forget-task(task='a.b')"
    text = http("x", "health", status=500, when_status=503).describe()
    assert text == "a relay answers for health: status=500, when_status=503"
    text = logs("x", "rename", field="task_id", value="id").describe()
    assert text == "rename in lines with anything: field='task_id', value='id'"


def test_filter_changes_complete_lines_only_and_counts_them() -> None:
    """A line that is still being written stays as it is: its end may decide whether it matches."""
    rule = Filter(act="drop", where={"message": "a"}, field="", value=None, text="")
    filtered = LogFilter(rule=rule)
    output = "\n".join([*LINES, LINES[0]])
    assert filtered.apply(output) == f"{LINES[1]}\n{LINES[0]}"
    assert filtered.changed == 2
    assert filtered.apply(LINES[0]) == LINES[0]
    assert LogFilter().apply(output) == output


def test_filter_inserts_before_the_first_line_that_matches() -> None:
    """Without a condition it inserts at the start, also of a log without JSON."""
    rule = Filter(act="insert", where={"message": "b"}, field="", value=None, text="new")
    assert rule(LINES) == [LINES[0], "new", *LINES[1:]]
    at_start = Filter(act="insert", where={}, field="", value=None, text="new")
    assert at_start(["plain"]) == ["new", "plain"]


def test_loaded_modules_keep_path_and_loader_of_the_system(tmp_path: Path) -> None:
    """The image's own path stays, behind the folder; its own loader is the one that is extended."""
    inherited = {"PYTHONPATH": "/app/lib", "CELERY_LOADER": "shop.loader:Loader"}
    load = guest_load.GuestLoad(files=tmp_path)
    assert load.applied({"A": "1"}, inherited) == {"A": "1"}, "nothing is loaded"
    env = load.with_probe_tasks(("DSN",), by_loader=True, report_ends=True).applied({}, inherited)
    folder, _, rest = env["PYTHONPATH"].partition(":")
    assert rest == "/app/lib"
    names = {path.name for path in Path(folder).iterdir()}
    assert names == {"gateproof_loader.py", "gateproof_probe_tasks.py"}
    assert (env["CELERY_LOADER"], env["GATEPROOF_LOADER"]) == (
        "gateproof_loader:Loader",
        "shop.loader:Loader",
    )
    by_command = load.with_probe_tasks(("DSN",), by_loader=False, report_ends=False).applied({}, {})
    assert "CELERY_LOADER" not in by_command
    assert by_command["GATEPROOF_PROBE_DSN"] == "DSN"
    assert (env.get("GATEPROOF_PROBE_ENDS"), by_command.get("GATEPROOF_PROBE_ENDS")) == ("1", None)
