"""Counting in several processes and threads, without a worker."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHILDREN = 40

COUNT = f"""
import os, signal, sys, threading
from pathlib import Path
from types import SimpleNamespace
from billiard import Process
from system.observability.metrics import TaskMetrics

folder, forking = Path(sys.argv[1]), threading.Event()
metrics, task = TaskMetrics(folder, ["task"]), SimpleNamespace(name="task")

def run(name, times):
    for number in range(times):
        metrics._begin(task, f"{{name}} {{number}}")
        metrics._count_success(task)
        metrics._end(task, f"{{name}} {{number}}")

def work(name):
    signal.alarm(30)
    run(name, 5)

def count(name, counted):
    while not forking.is_set():
        run(f"{{name}} {{len(counted)}}", 10)
        counted.append(10)

counted = []
threads = [threading.Thread(target=count, args=(name, counted), daemon=True) for name in "ab"]
for thread in threads:
    thread.start()
for number in range({CHILDREN}):
    child = Process(target=work, args=(f"child {{number}}",))
    child.index = number % 4
    child.start()
    child.join()
    assert child.exitcode == 0, f"child {{number}}: got {{child.exitcode}}, expected 0"
forking.set()
for thread in threads:
    thread.join()
print(metrics.render().decode())
print("expected", sum(counted) + 5 * {CHILDREN})
"""

EMPTY = """
import shutil, sys
from pathlib import Path
from system.observability.metrics import TaskMetrics

folder = Path(sys.argv[1])
metrics = TaskMetrics(folder, ["task"])
(folder / "counter_child-0.db").touch()
print(metrics.render().decode())
shutil.rmtree(folder)
metrics.render()
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a separate interpreter, because the library keeps its configuration."""
    words = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)


def test_counts_are_exact_over_threads_and_forks(tmp_path: Path) -> None:
    """Threads that count during forks lose no count and block no child."""
    done = run(COUNT, tmp_path)
    assert done.returncode == 0, done.stderr
    totals = dict(re.findall(r"^(\S+?)(?:\{.*\})? (\S+)$", done.stdout, re.MULTILINE))
    expected = float(totals["expected"])
    assert expected > 5 * CHILDREN
    for family in ("started_total", "success_total", "duration_seconds_count"):
        assert float(totals[f"celery_task_{family}"]) == expected
    assert len(list(tmp_path.glob("*.db"))) == 2 * (1 + 4)


@pytest.mark.parametrize("family", ["celery_task_started_total", "celery_task_failure_total"])
def test_empty_file_of_a_new_child_counts_zero(tmp_path: Path, family: str) -> None:
    """An empty file, which a child creates first, counts zero; a missing folder is an error."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    done = run(EMPTY, folder)
    assert f'{family}{{task_name="task"}} 0.0' in done.stdout
    assert done.returncode == 1
    assert f"metrics: got no file in {folder}, expected those of this process" in done.stderr
