"""The gate of row-level security on a schema that it has never seen, by generated falsifiers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gates.taxonomy.miniature import Miniature, read_miniature
from tests.acceptance.conftest import ROOT, run_command
from tests.tenants import table_names, write_tenants

FEW = 2
JUDGED = tuple(f"RLS-{number:02}" for number in (1, 2, 4, 5, 8, 9, 10, 11, 12))
TABLES = 4
DISCOVERED = ("RLS-02", "RLS-05")
"""The criteria that are proven on discovered tables: the falsifiers are made as for listed ones."""


def prove(tmp_path: Path, described: Path, *more: str) -> Miniature:
    """Run the gate with all falsifiers; return the result."""
    command = [sys.executable, "-m", "pytest", "-q", *more, "gates/rls"]
    command += [f"--sut={described}", "--environment", "embedded", "-p", "no:cacheprovider"]
    command += ["--evidence-out", str(tmp_path / "reports")]
    done = run_command(command, folder=ROOT)
    return read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)


def all_proven(ran: Miniature, *names: str) -> None:
    """Assert that criteria pass and that each of their falsifiers is proven."""
    for name in names:
        assert ran.judged(name)[0] == "pass", ran.output
        proofs = ran.proven(name)
        assert len(proofs) >= FEW, ran.output
        assert {result for result, _ in proofs.values()} == {"proven"}, ran.output


@pytest.mark.parametrize("discover", [False, True], ids=["listed", "discovered"])
def test_every_generated_falsifier_is_proven(tmp_path: Path, *, discover: bool) -> None:
    """With other key types, schemas, names and settings all checks pass, and all are proven.

    Listed tables each have a falsifier; of discovered ones the first, the middle and the last, for
    two of the criteria.
    """
    described = write_tenants(tmp_path / "tenants", tables=TABLES, discover=discover)
    some = [f"--falsify={','.join(DISCOVERED)}"] if discover else ["-n", "2"]
    ran = prove(tmp_path, described, *some)
    assert {name: ran.judged(name)[0] for name in JUDGED} == dict.fromkeys(JUDGED, "pass")
    all_proven(ran, *(DISCOVERED if discover else JUDGED))
    if not discover:
        texts = " ".join(one["fault"] for one in ran.verdict("RLS-02")["proofs"])
        assert [name for name in table_names(TABLES) if name not in texts] == []


def test_description_of_database_and_tenants_is_enough(tmp_path: Path) -> None:
    """Without a worker all are judged and proven but RLS-12, which publishes a task."""
    described = write_tenants(tmp_path / "tenants", tables=FEW, worker=False)
    ran = prove(tmp_path, described)
    all_proven(ran, *(name for name in JUDGED if name != "RLS-12"))
    assert ran.verdict("RLS-12")["outcome"] == "notdescribed", ran.output
