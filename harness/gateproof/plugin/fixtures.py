"""The fixtures of checks: stacks, commands, the description of the system, unique identifiers."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from gateproof.base.draw import drawing_by
from gateproof.description.sut import Sut
from gateproof.probes.answers.boundary import Boundary, answers_name
from gateproof.probes.answers.request import places_of
from gateproof.probes.file import FileProbe
from gateproof.probes.http import HttpProbe
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
from gateproof_evidence.judging.verdict import CHECK

T = TypeVar("T")


@pytest.fixture
def ids(request: pytest.FixtureRequest) -> Ids:
    """Unique identifiers."""
    _boundary(request)
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
    return _recorded(request, ProcessProbe(bring_up.recorder, launcher, env=bring_up.sut.env))


@pytest.fixture
def files(request: pytest.FixtureRequest, recorder: Recorder, sut: Sut) -> FileProbe:
    """Reads files of the system's project."""
    return _recorded(request, FileProbe(recorder, sut.folder))


@pytest.fixture
def http(request: pytest.FixtureRequest, recorder: Recorder) -> HttpProbe:
    """Sends requests to servers that are no part of a stack."""
    return _recorded(request, HttpProbe(recorder))


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
    return _recorded(request, ProcessProbe(bring_up.recorder, launcher))


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
    return _recorded(request, bring_up.shared())


@pytest.fixture
def own_stack(request: pytest.FixtureRequest, bring_up: BringUp) -> Iterator[Stack]:
    """A stack for this check alone, for checks that change the database; its server is shared."""
    if isinstance(request.node, ProofItem):
        yield _copy(request).stack
        return
    own = bring_up.own_stack()
    yield _recorded(request, own)
    own.dispose()


@pytest.fixture
def empty_stack(request: pytest.FixtureRequest, bring_up: BringUp) -> Iterator[Stack]:
    """A stack without migrations, for checks that run them: they judge it if migrations fail."""
    if isinstance(request.node, ProofItem):
        yield _copy(request).stack
        return
    empty = bring_up.empty_stack()
    yield _recorded(request, empty)
    empty.dispose()


@pytest.fixture
def own_server_stack(request: pytest.FixtureRequest, bring_up: BringUp) -> Iterator[Stack]:
    """A stack with its own server, for checks that change roles, settings or the server itself."""
    if isinstance(request.node, ProofItem):
        yield _copy(request).stack
        return
    own = bring_up.own_stack(own_server=True)
    yield _recorded(request, own)
    own.dispose()
    own.server.stop()


BOUNDARY: pytest.StashKey[Boundary] = pytest.StashKey()
"""The boundary that records the answers to a check."""


def _recorded(request: pytest.FixtureRequest, target: T) -> T:
    """Return a fixture whose answers are recorded if a check that is no proof uses it."""
    boundary = _boundary(request)
    return target if boundary is None else boundary.fixture(request.fixturename or "", target)


def _boundary(request: pytest.FixtureRequest) -> Boundary | None:
    """Return what records the answers to a check; None for any other item."""
    item, writer = request.node, request.config.stash.get(WRITER, None)
    if writer is None or isinstance(item, ProofItem) or writer.options.mutation is not None:
        return None
    recorder, scope = writer.recorder, writer.recorder.scope
    if scope.part != CHECK or scope.item != item.nodeid or BOUNDARY in item.stash:
        found: Boundary | None = item.stash.get(BOUNDARY, None)
        return found
    name = answers_name(scope.gate or "", scope.criterion or "", item.name)
    boundary = Boundary(recorder, name, places=places_of(writer.bring_up.sut))
    drawing = drawing_by(boundary.draw)
    drawing.__enter__()
    item.addfinalizer(lambda: drawing.__exit__(None, None, None))
    item.stash[BOUNDARY] = boundary
    return boundary


def _copy(request: pytest.FixtureRequest) -> Copy:
    copy: Copy = request.getfixturevalue(COPY_FIXTURE)
    return copy
