"""The environments and the versions of PostgreSQL give the same outcomes.

Every gate of the system is judged in each, without proofs. The gates about the harness itself and
about CI are left out: they do not depend on the environment. The embedded environment with the
newest PostgreSQL is left out too, because `make gates` judges it.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateproof.base.errors import EnvironmentProblemError
from gateproof.environments.engine import find_engine
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

    def __str__(self) -> str:
        return f"{self.environment}-{self.major}"


PLACES = (
    Place(environment="embedded", major="16", options=("--postgres-version", "16")),
    Place(
        environment="containers", major="15", options=("--postgres-image", "postgres:15-bookworm")
    ),
)


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
    """Run every gate of the system without proofs; write the bundle under the folder `out`."""
    pack, *own = GATES
    names = sorted({test.parent.name for test in pack.glob("*/test_*.py")} - set(LEFT_OUT))
    command = [sys.executable, "-m", "pytest", *(str(pack / name) for name in names)]
    command += map(str, own)
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
    """Each criterion of these gates passes; the bundle has the version that the server reports."""
    ran = judge(place).ran
    where = ran.run["environment"]
    assert where["kind"] == place.environment
    assert re.fullmatch(rf"{place.major}\.\d+", where["postgres"]), "the version of the server"
    expected = [one.id for one in catalogue().criteria if one.gate not in LEFT_OUT]
    found = {one: ran.judged(one) for one in expected}
    assert found == dict.fromkeys(expected, ("pass", None)), ran.output
    assert ran.exit_status == INCOMPLETE, ran.output


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(PLACES, 2)), ids=str)
def test_two_places_agree_on_every_criterion(one: Place, other: Place, judge: Judge) -> None:
    """Outcome and cause of each criterion are the same on both, whatever they are."""
    found = outcomes(judge(one).bundle), outcomes(judge(other).bundle)
    assert set(found[0].values()) > {"notselected (None)"}, "premise: something was judged"
    assert disagreements(*found) == []
