"""The program that imports a system in a fresh interpreter, and what it reports of its settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gates.imports.fresh import PROGRAM

APP = """
import os
from celery import Celery

app = Celery("shop")
app.config_from_object("shop_settings")
"""
LAZY = """
import sys

class Lazy:
    def __getattr__(self, name):
        raise KeyError('SHOP')

sys.modules[__name__] = Lazy()
"""


def report_of(folder: Path, settings: str) -> dict[str, Any]:
    """Run the program on an app that reads its settings at their first use."""
    (folder / "shop.py").write_text(APP, encoding="utf-8")
    (folder / "shop_settings.py").write_text(settings, encoding="utf-8")
    request = {"modules": ["shop"], "app": "shop:app", "dsn": [], "service": False, "keep": None}
    program = PROGRAM.read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(request)],
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_settings_that_can_be_read_show_eager_mode_and_tasks(tmp_path: Path) -> None:
    """The module is imported, and the app has its settings."""
    report = report_of(tmp_path, "task_always_eager = True\n")
    assert report["eager"] is True
    assert "celery.chord" in report["tasks"]
    assert "app" not in report


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ("import os\nbroker_url = os.environ['SHOP_BROKER']\n", "KeyError: 'SHOP_BROKER'"),
        ("raise SystemExit('no database')\n", "SystemExit: no database"),
        (
            LAZY,
            "KeyError: 'SHOP'",
        ),
    ],
    ids=["variable", "exit", "swallowed"],
)
def test_error_of_settings_is_reported_with_its_cause(
    tmp_path: Path, settings: str, cause: str
) -> None:
    """The module is imported without them, and Celery may raise another error than theirs."""
    report = report_of(tmp_path, settings)
    assert not report["modules"]["shop"].startswith("raised ")
    assert report["app"] == f"raised {cause}"
