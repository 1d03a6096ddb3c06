"""The pytest plugin that plays checks back: no system is started, and no proof is made.

Owns the fixtures of checks from recorded answers, and the records that the checks make. Leaves what
follows from these records to `gateproof_evidence.judging.playback`.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from gateproof.base.draw import drawing_by
from gateproof.base.option import sut_file
from gateproof.base.wait import waiting_by
from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from gateproof.plugin.playback.player import Clock, NotRecordedError, Player
from gateproof.plugin.playback.task import PLAYED, RESULT, TASK, Task
from gateproof.probes.answers.boundary import answers_name
from gateproof.probes.claims.claim import claims_of_check
from gateproof.probes.recorder import Recorder, Scope
from gateproof.run.declaration import DESCRIBED
from gateproof.run.stage import categorise, first_line
from gateproof.run.writer import now
from gateproof.stack.copy import HARNESS
from gateproof.stack.identifier import Ids
from gateproof_evidence.format.recording.journal import Journal
from gateproof_evidence.judging.verdict import CHECK
from gateproof_evidence.model import PhaseEvent
from gateproof_evidence.redaction.redactor import Redactor

PLAYER: pytest.StashKey[Player] = pytest.StashKey()
SUT: pytest.StashKey[Sut] = pytest.StashKey()
WRITER_NAME = "playback"
NO_CLAIMS = ("other", "harness", "environment", "limit")
"""The categories of exceptions that say that a check could not be played back."""


def open_session(config: pytest.Config, folder: Path) -> None:
    """Prepare a session that plays back what a folder asks for.

    Raises:
        BadInputError: the description of the system is not valid.

    """
    sut = load_sut(sut_file(config))
    config.stash[SUT] = config.stash[DESCRIBED] = sut
    config.pluginmanager.register(Fixtures(), "gateproof-fixtures")
    config.pluginmanager.register(Playback(folder, sut), "gateproof-playback")


class Playback:
    """Runs each check on its recorded answers.

    Args:
        folder: has `TASK` and the files of answers; receives `PLAYED` and `RESULT`.
        sut: the description of the system.

    """

    def __init__(self, folder: Path, sut: Sut) -> None:
        self._folder = folder
        self._sut = sut
        self._task = Task.read(folder / TASK)
        self._clock = Clock()
        self._recorder = Recorder(
            Journal(folder / PLAYED, writer=WRITER_NAME, clock=now), Redactor(), folder, keep=False
        )
        self._reasons: dict[str, str] = {}
        self._redacted: list[str] = []

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep the checks that the recorded run has judged."""
        recorded = self._task.items
        known = [item for item in items if recorded.get(_name(item))]
        others = [item for item in items if item not in known]
        items[:] = known
        if others:
            config.hook.pytest_deselected(items=others)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Record what a check states under the item that was recorded."""
        name = _name(item)
        criterion, own = name
        path = self._folder / answers_name(self._task.gates[criterion], criterion, own)
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            item.stash[PLAYER] = Player(lines, sut=self._sut, clock=self._clock)
        except (ValueError, KeyError, TypeError) as error:
            self._reasons[self._task.items[name]] = f"its answers are damaged: {error}"
            item.stash[PLAYER] = Player((), sut=self._sut, clock=self._clock)
        gate = self._task.gates[criterion]
        scope = Scope(part=CHECK, item=self._task.items[name], criterion=criterion, gate=gate)
        player = item.stash[PLAYER]
        with (
            self._recorder.in_scope(scope),
            waiting_by(self._clock),
            drawing_by(player.draw),
        ):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
        """Fail a check at its end if a claim that it stated does not hold."""
        with claims_of_check(), pyfuncitem.stash[PLAYER].in_call():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Record how a stage of a check ended, or why it could not be played back."""
        report = yield
        error = call.excinfo.value if call.excinfo else None
        recorded = self._task.items[_name(item)]
        category, message = categorise(error) if error else ("none", "")
        missing = item.stash[PLAYER].missing
        if item.stash[PLAYER].redacted and recorded not in self._redacted:
            self._redacted.append(recorded)
        if missing or isinstance(error, NotRecordedError):
            self._reasons.setdefault(recorded, f"asked for what was not recorded: {missing}"[:300])
        elif category in NO_CLAIMS:
            self._reasons.setdefault(recorded, f"{call.when}: {first_line(message)}"[:300])
        if call.when == "call":
            scope = self._recorder.scope
            self._recorder.journal.append(
                PhaseEvent,
                item=recorded,
                criterion=scope.criterion,
                part=CHECK,
                when="call",
                result="raised" if error else "passed",
                category=category,
                message=self._recorder.clean(first_line(message), 4000),
                duration_s=call.duration,
            )
        return report

    def pytest_sessionfinish(self) -> None:
        """Write why checks could not be played back, and which got redacted answers."""
        self._recorder.journal.close()
        found = {"reasons": self._reasons, "redacted": self._redacted}
        (self._folder / RESULT).write_text(json.dumps(found), encoding="utf-8")


class Fixtures:
    """The fixtures of checks, from recorded answers."""

    @pytest.fixture
    def sut(self, request: pytest.FixtureRequest) -> Sut:
        """The description of the system."""
        return request.config.stash[SUT]

    @pytest.fixture
    def ids(self) -> Ids:
        """Unique identifiers, as they were recorded."""
        return Ids()

    @pytest.fixture
    def recorder(self, request: pytest.FixtureRequest) -> Any:
        """The recorder, which is not recorded itself."""
        return request.node.stash[PLAYER].fixture(request.fixturename)

    commands = files = http = machine = recorder
    stack = own_stack = empty_stack = own_server_stack = recorder
    bring_up = recorder

    @pytest.fixture
    def harness_path(self) -> tuple[Path, ...]:
        """The folders of the harness."""
        return HARNESS


def _name(item: pytest.Item) -> tuple[str, str]:
    """Return the criterion of a check and the name of its function, with its parameters."""
    mark = item.get_closest_marker("criterion")
    return (str(mark.args[0]) if mark and mark.args else "", item.name)
