"""The environments and the versions of PostgreSQL give the same outcomes.

The gates whose checks stop, pause and disconnect processes and servers, and those about the
database, are judged in containers, without proofs. With ``GATEPROOF_ENVIRONMENTS=all``, as
`make examples` sets it, these are all gates of the system but those about the harness itself and
about CI, which do not depend on the environment. A third version of PostgreSQL gets the gates whose
claims are about the database itself. The embedded environment with the newest PostgreSQL is left
out, because `make gates` judges it.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateproof.base.errors import EnvironmentProblemError
from gateproof.environments.engine import find_engine
from gateproof_evidence.format.catalogue import load_catalogues
from gates.taxonomy.miniature import Miniature, read_miniature
from tests.acceptance.agreement import disagreements, outcomes
from tests.acceptance.conftest import ROOT, run_command
from tests.criteria import GATES, catalogue

LEFT_OUT = ("ci", "taxonomy")
INCOMPLETE = 100
"""The status of a run without proofs in which nothing is red."""

LIMIT_S = 900.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """An environment and a version of PostgreSQL in which the gates are judged."""

    environment: str
    major: str
    """PostgreSQL's major version."""
    options: tuple[str, ...]
    gates: tuple[str, ...] = ()
    """The gates of the pack that are judged there; none for all of the system but `LEFT_OUT`."""

    def __str__(self) -> str:
        return f"{self.environment}-{self.major}"


DATABASE = ("broker", "rls", "schema")
DISRUPTED = ("process", "runtime")

ALL = os.environ.get("GATEPROOF_ENVIRONMENTS") == "all"
"""Whether every gate is judged in containers."""

PLACES = (
    Place(
        environment="embedded",
        major="16",
        options=("--postgres-version", "16"),
        gates=DATABASE,
    ),
    Place(
        environment="containers",
        major="15",
        options=("--postgres-image", "postgres:15-bookworm"),
        gates=() if ALL else (*DATABASE, *DISRUPTED),
    ),
)


OUTCOMES = {"PRC-03": ("notapplicable", None)}
"""The outcomes of the criteria that do not pass: the service is healthy without a worker."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The run of the gates in a place, and its bundle."""

    ran: Miniature
    bundle: Path


Judge = Callable[[Place], Judged]


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Return a function that judges the gates in a place, at its first call only."""
    done: dict[Place, Judged] = {}

    def once(place: Place) -> Judged:
        """Return the run in a place; judge it there at the first call."""
        skip_where_missing(place)
        if place not in done:
            done[place] = judge_gates(place, tmp_path_factory.getbasetemp() / str(place))
        return done[place]

    return once


def judge_gates(place: Place, out: Path) -> Judged:
    """Run the gates of a place without proofs; write the bundle under the folder `out`."""
    pack = GATES[0]
    checks = [pack / name for name in place.gates]
    if not checks:
        tops = [one for folder in GATES for one in folder.iterdir() if one.name not in LEFT_OUT]
        checks = sorted(
            one for one in tops if one.name.startswith("test_") or any(one.glob("test_*.py"))
        )
    command = [sys.executable, "-m", "pytest", *map(str, checks)]
    command += ["--no-falsify", "-q", "-p", "no:cacheprovider", "-n", "3"]
    command += ["--environment", place.environment, *place.options]
    command += ["--evidence-out", str(out / "reports")]
    ran = run_command(command, folder=ROOT, limit_s=LIMIT_S)
    found = read_miniature(out, exit_status=ran.returncode, output=ran.stdout)
    assert found.run, f"{place}: got no bundle, expected one\n{ran.stdout}"
    return Judged(ran=found, bundle=out / "reports" / "latest")


def skip_where_missing(place: Place) -> None:
    """Skip the test when this machine does not have the place."""
    if place.environment == "containers":
        try:
            find_engine()
        except EnvironmentProblemError as error:
            pytest.skip(f"{place} was not run: {error}")


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_every_criterion_passes_on_this_version(place: Place, judge: Judge) -> None:
    """Each criterion that applies passes; the bundle has the version that the server reports."""
    ran = judge(place).ran
    where = ran.run["environment"]
    assert where["kind"] == place.environment
    assert re.fullmatch(rf"{place.major}\.\d+", where["postgres"]), "the version of the server"
    expected = criteria_of(place)
    found = {one: ran.judged(one) for one in expected}
    assert found == {one: OUTCOMES.get(one, ("pass", None)) for one in expected}, ran.output
    assert ran.exit_status == INCOMPLETE, ran.output


def criteria_of(place: Place) -> list[str]:
    """Return the ids of the criteria that are judged in a place."""
    if not place.gates:
        return [one.id for one in catalogue().criteria if one.gate not in LEFT_OUT]
    pack = load_catalogues([GATES[0] / "criteria.toml"])
    return [one.id for one in pack.criteria if one.gate in place.gates]


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(PLACES, 2)), ids=str)
def test_two_places_agree_on_every_criterion(one: Place, other: Place, judge: Judge) -> None:
    """Outcome and cause of each criterion that both judge are the same, whatever they are."""
    both = set(criteria_of(one)) & set(criteria_of(other))
    assert len(both) > 20, "premise: both judge something"
    found = [
        {name: outcome for name, outcome in outcomes(judge(place).bundle).items() if name in both}
        for place in (one, other)
    ]
    assert "notselected (None)" not in {*found[0].values(), *found[1].values()}, "premise"
    assert disagreements(*found) == []
