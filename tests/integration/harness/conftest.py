"""A shared bring-up for tests of the harness with a real server and real workers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateproof.description.reading import load_sut
from gateproof.environments.embedded import Embedded
from gateproof.probes.recorder import Recorder
from gateproof.stack.bring_up import BringUp
from gateproof.stack.stack import Stack
from gateproof_evidence.format.recording.journal import Journal
from gateproof_evidence.redaction.redactor import Redactor

ROOT = Path(__file__).parents[3]
BringUps = Callable[[Path], BringUp]
"""Makes the environment of a description, which is removed after the test."""


@pytest.fixture(scope="session")
def brought_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BringUp]:
    """The reference system on an embedded server."""
    data = tmp_path_factory.mktemp("data")
    redactor = Redactor()
    sut = load_sut(ROOT / "system" / "sut.toml")
    journal = Journal(data / "journal.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC))
    made = BringUp(
        environment=Embedded(
            reason="a test", learn_secret=redactor.add_secret, warm=sut.worker.warm
        ),
        sut=sut,
        recorder=Recorder(journal, redactor, data),
        ready_deadline_s=60,
        progress=lambda _: None,
        learn_secret=redactor.add_secret,
    )
    yield made
    made.dispose()
    journal.close()


@pytest.fixture
def own(brought_up: BringUp) -> Iterator[Stack]:
    """A stack for one test."""
    stack = brought_up.own_stack()
    yield stack
    stack.dispose()


@pytest.fixture
def bring_up(tmp_path: Path) -> Iterator[BringUps]:
    """Creates an embedded environment for a description."""
    with ExitStack() as made:

        def new(path: Path) -> BringUp:
            redactor, sut = Redactor(), load_sut(path)
            warm = sut.worker.warm if sut.describes("worker") else ()
            for label, value in sut.secrets.items():
                redactor.add_secret(label, value)
            journal = Journal(
                tmp_path / "journal.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC)
            )
            made.callback(journal.close)
            up = BringUp(
                environment=Embedded(reason="a test", learn_secret=redactor.add_secret, warm=warm),
                sut=sut,
                recorder=Recorder(journal, redactor, tmp_path),
                ready_deadline_s=60,
                progress=lambda _: None,
                learn_secret=redactor.add_secret,
            )
            made.callback(up.dispose)
            return up

        yield new
