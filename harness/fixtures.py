"""What a check can ask for: stacks, commands, the description of the system, fresh identifiers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from harness.bringup import BringUp
from harness.probes.file import FileProbe
from harness.probes.process import ProcessProbe
from harness.probes.recorder import Recorder
from harness.proof import COPY_FIXTURE, ProofItem
from harness.stack import Stack
from harness.sut import Sut
from harness.writer import WRITER


class Ids:
    """Fresh identifiers: nothing that a check makes can meet what another made."""

    def uuid(self) -> uuid.UUID:
        """Return a UUID that was never used."""
        return uuid.uuid4()

    def slug(self, prefix: str = "id") -> str:
        """Return a short name that was never used."""
        return f"{prefix}-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def ids() -> Ids:
    """Fresh identifiers."""
    return Ids()


@pytest.fixture
def bring_up(request: pytest.FixtureRequest) -> BringUp:
    """The running environment."""
    return request.config.stash[WRITER].bring_up


@pytest.fixture
def recorder(bring_up: BringUp) -> Recorder:
    """The recorder, for probes that a gate makes itself."""
    return bring_up.recorder


@pytest.fixture
def sut(bring_up: BringUp) -> Sut:
    """The description of the system under test."""
    return bring_up.sut


@pytest.fixture
def commands(bring_up: BringUp) -> ProcessProbe:
    """Runs commands where the system lives; needs no server."""
    return ProcessProbe(bring_up.recorder, bring_up.environment.launcher)


@pytest.fixture
def files(bring_up: BringUp) -> FileProbe:
    """Reads files of the system's project."""
    return FileProbe(bring_up.recorder, bring_up.sut.folder)


@pytest.fixture
def machine(bring_up: BringUp) -> ProcessProbe:
    """Runs commands where the harness itself runs, for claims about the harness and about CI."""
    return ProcessProbe(bring_up.recorder, bring_up.environment.machine)


@pytest.fixture
def proof_copy(request: pytest.FixtureRequest, bring_up: BringUp) -> Iterator[Stack]:
    """The throw-away copy of a proof; used through the stack fixtures."""
    item = request.node
    assert isinstance(item, ProofItem), "only a proof has a copy"
    copy = bring_up.own_stack(own_server=item.needs_own_server)
    yield copy
    copy.dispose()


@pytest.fixture
def stack(request: pytest.FixtureRequest, bring_up: BringUp) -> Stack:
    """The stack that checks share which leave nothing behind: read, publish, use fresh ids."""
    if isinstance(request.node, ProofItem):
        return _copy(request)
    return bring_up.shared()


@pytest.fixture
def own_stack(request: pytest.FixtureRequest, bring_up: BringUp) -> Iterator[Stack]:
    """A stack for this check alone, for what changes things; its server is shared."""
    if isinstance(request.node, ProofItem):
        yield _copy(request)
        return
    own = bring_up.own_stack()
    yield own
    own.dispose()


@pytest.fixture
def own_server_stack(request: pytest.FixtureRequest, bring_up: BringUp) -> Iterator[Stack]:
    """A stack with a server of its own, for what touches roles, settings or the server itself."""
    if isinstance(request.node, ProofItem):
        yield _copy(request)
        return
    own = bring_up.own_stack(own_server=True)
    yield own
    own.dispose()
    own.server.stop()


def _copy(request: pytest.FixtureRequest) -> Stack:
    copy: Stack = request.getfixturevalue(COPY_FIXTURE)
    return copy
