"""The needs of every check cover what its source reads of the description."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from gateproof.description.need import parse_needs
from tests import feature_reads
from tests.feature_reads import checks, needs_of

CHECKS = {criterion: (declared, shown) for criterion, declared, shown in checks()}

SOMETIMES = {"PRC-02": {"celery", "worker", "ping", "task"}}
"""The keys that a check reads for some descriptions only: if a process is to fail without a worker.
Others need not have it; where it is needed and lacking, the criterion is not described."""


def uncovered(declared: tuple[str, ...], shown: tuple[str, ...]) -> list[str]:
    """Return the needs that a check's source shows and that its declaration does not cover."""
    keys = [need.key for need in parse_needs(declared)]
    return [one for one in shown if not any(f"{key}.".startswith(f"{one}.") for key in keys)]


@pytest.mark.parametrize("criterion", sorted(CHECKS))
def test_check_declares_what_it_reads(criterion: str) -> None:
    """A check that reads a feature without naming it would break where the feature is missing."""
    declared, shown = CHECKS[criterion]
    found = set(uncovered(declared, shown))
    assert found == SOMETIMES.get(criterion, set()), "add these to needs of @criterion"


def test_needs_are_read_of_every_check_of_the_reference_system() -> None:
    """The reading finds the checks; most of them need a database."""
    assert len(CHECKS) > 90
    assert sum("database" in declared for declared, _ in CHECKS.values()) > 60


def test_needs_of_keys_name_the_table_or_the_key_that_may_be_missing() -> None:
    """A table stands for its required keys and those with a default."""
    read = ("tenancy.guc", "broker.lease_s", "broker.kind", "ping", "timezones.worker", "name")
    assert needs_of(read) == ("broker.lease_s", "ping", "tenancy")
    assert needs_of(("dead_letters.new",)) == ("dead_letters.statuses",)


def test_need_that_is_not_declared_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read through another function, another name and the harness is found."""
    gate = tmp_path / "gates" / "own"
    gate.mkdir(parents=True)
    (gate / "helper.py").write_text("def rows(stack):\n    return stack.sut.tenancy.key\n")
    source = """
    from .helper import rows
    @criterion("OWN-01", needs="ping")
    def test_own(own_stack, sut):
        how = sut.ping
        rows(own_stack)
        own_stack.migrate(how.hold)
    """
    (gate / "test_own.py").write_text(textwrap.dedent(source))
    monkeypatch.setattr(feature_reads, "ROOT", tmp_path)
    feature_reads.modules.cache_clear()
    found = list(checks())
    feature_reads.modules.cache_clear()
    ((criterion, declared, shown),) = found
    assert criterion == "OWN-01"
    assert uncovered(declared, shown) == ["database", "migrations", "ping.hold", "tenancy"]
