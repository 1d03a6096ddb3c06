"""The fixtures of checks: stacks, commands, the description of the system, unique identifiers."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateproof.description.sut import Sut
from gateproof.probes.file import FileProbe
from gateproof.probes.process import ProcessProbe
from gateproof.probes.recorder import Recorder
from gateproof.proof.proof import COPY_FIXTURE, ProofItem
from gateproof.run.writer import WRITER
from gateproof.stack.bring_up import BringUp
from gateproof.stack.copy import HARNESS, Copy
from gateproof.stack.identifier import Ids
from gateproof.stack.stack import Stack
from gateproof.stack.stopwatch import COPY
from gateproof.stack.watched import watched, watched_inside


@pytest.fixture
def ids() -> Ids:
    """Unique identifiers."""
    return Ids()


@pytest.fixture(scope="session")
def bring_up(request: pytest.FixtureRequest) -> BringUp:
    """The running environment."""
    return request.config.stash[WRITER].bring_up


@pytest.fixture(scope="session")
def recorder(bring_up: BringUp) -> Recorder:
    """The recorder, for probes that a gate creates itself."""
    return bring_up.recorder


@pytest.fixture
def sut(request: pytest.FixtureRequest, bring_up: BringUp) -> Sut:
    """The description of the system under test."""
    return _copy(request).sut if isinstance(request.node, ProofItem) else bring_up.sut


@pytest.fixture
def commands(request: pytest.FixtureRequest, bring_up: BringUp) -> ProcessProbe:
    """Runs commands in the place where the system runs; needs no server."""
    root = _copy(request).sut.folder if isinstance(request.node, ProofItem) else None
    launcher = watched(bring_up.environment.launcher, bring_up.watches.open(root))
    return ProcessProbe(bring_up.recorder, launcher, env=bring_up.sut.env)


@pytest.fixture
def files(recorder: Recorder, sut: Sut) -> FileProbe:
    """Reads files of the system's project."""
    return FileProbe(recorder, sut.folder)


@pytest.fixture
def harness_path(request: pytest.FixtureRequest) -> tuple[Path, ...]:
    """The folders from which the judged harness is imported, for claims about the harness."""
    return _copy(request).harness if isinstance(request.node, ProofItem) else HARNESS


@pytest.fixture
def machine(request: pytest.FixtureRequest, bring_up: BringUp) -> ProcessProbe:
    """Runs commands on the machine of the harness, for claims about the harness and about CI."""
    environment = bring_up.environment
    is_proof = isinstance(request.node, ProofItem)
    root = _copy(request).sut.folder if is_proof else None
    launcher = watched_inside(
        environment.warm_machine if is_proof else environment.machine,
        bring_up.watches.open(root),
        other=(*HARNESS, Path(sys.prefix), Path(tempfile.gettempdir())),
    )
    return ProcessProbe(bring_up.recorder, launcher)


@pytest.fixture
def proof_copy(request: pytest.FixtureRequest, bring_up: BringUp) -> Iterator[Copy]:
    """The throw-away copy of a proof; checks use it through the other fixtures."""
    item = request.node
    assert isinstance(item, ProofItem), "only a proof has a copy"
    with bring_up.stopwatch.step(COPY):
        copy = item.open_copy(bring_up)
    yield copy
    item.close_copy(copy)


@pytest.fixture
def stack(request: pytest.FixtureRequest, bring_up: BringUp) -> Stack:
    """The shared stack, for checks that leave nothing behind: they read, or use unique ids."""
    if isinstance(request.node, ProofItem):
        return _copy(request).stack
    return bring_up.shared()


@pytest.fixture
def own_stack(request: pytest.FixtureRequest, bring_up: BringUp) -> Iterator[Stack]:
    """A stack for this check alone, for checks that change the database; its server is shared."""
    if isinstance(request.node, ProofItem):
        yield _copy(request).stack
        return
    own = bring_up.own_stack()
    yield own
    own.dispose()


@pytest.fixture
def empty_stack(request: pytest.FixtureRequest, bring_up: BringUp) -> Iterator[Stack]:
    """A stack without migrations, for checks that run them: they judge it if migrations fail."""
    if isinstance(request.node, ProofItem):
        yield _copy(request).stack
        return
    empty = bring_up.empty_stack()
    yield empty
    empty.dispose()


@pytest.fixture
def own_server_stack(request: pytest.FixtureRequest, bring_up: BringUp) -> Iterator[Stack]:
    """A stack with its own server, for checks that change roles, settings or the server itself."""
    if isinstance(request.node, ProofItem):
        yield _copy(request).stack
        return
    own = bring_up.own_stack(own_server=True)
    yield own
    own.dispose()
    own.server.stop()


def _copy(request: pytest.FixtureRequest) -> Copy:
    copy: Copy = request.getfixturevalue(COPY_FIXTURE)
    return copy
