"""Runs on a PostgreSQL of one's own: `--postgres-bin`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gates.taxonomy.miniature import Miniature

Run = Callable[..., Miniature]

INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""The installations of Debian's packages."""

ASKS_FOR_AN_EXTENSION = """
@criterion("MIN-01")
def test_extension_of_the_server(stack):
    found = stack.sql.query(
        "SELECT count(*), current_setting('server_version_num')::int / 10000"
        " FROM pg_available_extensions WHERE name = 'pageinspect'"
    ).rows[0]
    claim("available extensions", on="pageinspect", got=found[0], expected=1)
"""


@pytest.mark.skipif(not INSTALLED, reason="no PostgreSQL of Debian is installed")
def test_checks_run_on_the_server_whose_programs_are_named(run_gates: Run) -> None:
    """The run uses that server, with its extensions, and the bundle has its version."""
    folder = INSTALLED[-1]
    ran = run_gates(ASKS_FOR_AN_EXTENSION, ("MIN-01",), "--postgres-bin", str(folder))
    assert ran.judged("MIN-01") == ("pass", None), ran.output
    assert ran.run["environment"]["postgres"].partition(".")[0] == folder.parent.name


def test_folder_without_the_programs_is_bad_input(run_gates: Run, tmp_path: Path) -> None:
    """The message names the missing programs and a folder as it is expected; nothing runs."""
    ran = run_gates(ASKS_FOR_AN_EXTENSION, ("MIN-01",), "--postgres-bin", str(tmp_path))
    assert (ran.exit_status, ran.run) == (4, {})
    assert "--postgres-bin: got no initdb, pg_ctl, postgres, expected the folder" in ran.output


def test_programs_have_no_effect_in_containers(run_gates: Run, tmp_path: Path) -> None:
    """Named together with containers they are refused, instead of being left unused."""
    ran = run_gates(
        ASKS_FOR_AN_EXTENSION,
        ("MIN-01",),
        *("--postgres-bin", str(tmp_path), "--environment", "containers"),
    )
    assert (ran.exit_status, ran.run) == (4, {})
    assert "--postgres-bin: got it with --environment containers" in ran.output
