"""Mock servers without Node: ports, the record of the process, the lock file, and installing."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from system.commands.mocks import main
from system.errors import MocksError
from system.mocks import running
from system.mocks.installation import LOCK, PACKAGE, Installation, Node, NotInstalledError
from system.mocks.record import Record, Records
from system.mocks.servers import BASE_PORT, CONTRACTS, DOMAINS, servers, taken

LOCKED = json.loads(LOCK.read_text(encoding="utf-8"))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of all records, which is this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def child() -> subprocess.Popen[bytes]:
    """Return a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process


def record_of(pid: int, started: float) -> Record:
    """Return the record of a process."""
    return Record(pid=pid, started=started, dynamic=False, domains=DOMAINS)


def own_record() -> Record:
    """Return the record of this process."""
    return record_of(os.getpid(), psutil.Process().create_time())


def test_ports_are_those_of_the_domains_in_order() -> None:
    """Every contract has a mock server, and the ports are the documented ones."""
    found = {path.parent.relative_to(CONTRACTS) for path in CONTRACTS.rglob("openapi.yaml")}
    assert {Path(domain) for domain in DOMAINS} == found
    assert [(one.domain, one.port) for one in servers(BASE_PORT)] == list(
        zip(DOMAINS, range(4010, 4019), strict=True)
    )


def test_selected_domain_keeps_its_distance_from_the_base_port() -> None:
    """A server has the same port whichever others are started."""
    assert [one.port for one in servers(5000, ["health", "attribution"])] == [5001, 5004]


def test_newest_released_version_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are compared by their numbers, and a domain without one is named."""
    monkeypatch.setattr("system.mocks.servers.CONTRACTS", tmp_path)
    for version in ("v1.9.0", "v1.10.0"):
        path = tmp_path / "health" / "baselines" / version / "openapi.json"
        path.parent.mkdir(parents=True)
        path.touch()
    health, auth = servers(1, ["health"])[0], servers(1, ["auth"])[0]
    assert health.document().parent.name == "v1.10.0"
    with pytest.raises(MocksError, match="contract: got no released version of auth"):
        auth.document()


def test_port_is_taken_while_another_process_listens() -> None:
    """A port with a listener is taken, and it is free after its end."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        wanted = servers(port, ["auth"])
        assert taken(wanted) == wanted
    assert taken(wanted) == ()


def test_record_of_this_process_finds_it() -> None:
    """A process is found by its id and its start."""
    process = own_record().process()
    assert process is not None
    assert process.pid == os.getpid()


@pytest.mark.parametrize("reused", [True, False])
def test_record_of_an_ended_process_finds_none(
    child: subprocess.Popen[bytes], reused: bool
) -> None:
    """Neither an id that is free nor one that another process got is taken for it."""
    stale = record_of(os.getpid(), 1.0) if reused else record_of(child.pid, 1.0)
    assert stale.process() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"domains": null}'])
def test_damaged_record_counts_as_none(state: Path, text: str) -> None:
    """A record that was cut off stops no command."""
    records = Records.of(1)
    with records.locked():
        records.write(own_record())
        assert records.read() == own_record()
    next(state.rglob("process.json")).write_text(text)
    assert records.read() is None
    assert running.stop(1) is False
    assert list(state.rglob("process.json")) == []


def test_stale_record_is_removed_and_harms_no_process(
    state: Path, child: subprocess.Popen[bytes]
) -> None:
    """Stop ends no process that got the id of the recorded one."""
    records = Records.of(7)
    with records.locked():
        records.write(record_of(os.getpid(), 1.0))
    assert running.stop(7) is False
    assert records.read() is None
    with records.locked():
        records.write(record_of(child.pid, 1.0))
    assert len(list(state.rglob("process.json"))) == 1
    status = running.status(7)
    assert (status.pid, status.is_complete) == (None, False)


@pytest.mark.usefixtures("state")
def test_second_command_waits_for_the_first() -> None:
    """Two starts at once do not see the same state."""
    context = multiprocessing.get_context("spawn")
    entered = context.Event()
    with Records.of(9).locked():
        other = context.Process(target=_enter, args=(entered,))
        other.start()
        assert not entered.wait(1.0)
    assert entered.wait(30)
    other.join()


def _enter(entered: object) -> None:
    with Records.of(9).locked():
        entered.set()  # type: ignore[attr-defined]


def test_lock_file_has_digests_and_no_address_of_a_registry() -> None:
    """Each package is locked by its digest, and npm takes it from the configured registry."""
    packages = {name: one for name, one in LOCKED["packages"].items() if name}
    assert [name for name, one in packages.items() if not one.get("integrity")] == []
    assert [name for name, one in packages.items() if "resolved" in one] == []
    kept = {name: {**one, "funding": None} for name, one in packages.items()}
    assert re.findall(r"\w+://[^\"]+", json.dumps(kept)) == []


def test_lock_file_runs_no_script_and_fits_the_package_file() -> None:
    """No package has an install script, and what is locked is what is wanted, exactly."""
    assert [name for name, one in LOCKED["packages"].items() if "hasInstallScript" in one] == []
    wanted = json.loads(PACKAGE.read_text(encoding="utf-8"))
    assert LOCKED["packages"][""]["dependencies"] == wanted["dependencies"]
    for name, version in wanted["dependencies"].items():
        assert LOCKED["packages"][f"node_modules/{name}"]["version"] == version


@pytest.mark.parametrize(("version", "is_found"), [("v18.19.1", False), ("v20.0.0", True)])
def test_node_of_the_path_must_be_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, is_found: bool
) -> None:
    """Node 18 is passed over; without another one, the message says what to do."""
    for name in ("node", "npm"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    found = Installation(tmp_path / "mocks")
    assert (found.node is not None) == is_found
    with pytest.raises(NotInstalledError, match="make setup"):
        found.demand()


def npm_that(tmp_path: Path, script: str) -> Node:
    """Return a Node whose npm is a script."""
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    return Node(node=npm, npm=(str(npm),))


def test_failed_installation_is_one_line_without_an_address(tmp_path: Path) -> None:
    """The reason of npm is shown, its registry is not, and the next attempt starts again."""
    found = Installation(tmp_path / "mocks")
    error = "echo 'npm error request to https://packages.example/x failed' >&2; exit 1"
    found.__dict__["node"] = npm_that(tmp_path, error)
    with pytest.raises(NotInstalledError) as caught:
        found.install()
    assert str(caught.value) == (
        "npm ci: got request to (address) failed, expected Prism installed"
    )
    assert not found.is_current


def test_installation_is_not_repeated(tmp_path: Path) -> None:
    """The second installation runs no npm, and a changed lock file runs it again."""
    found = Installation(tmp_path / "mocks")
    found.__dict__["node"] = npm_that(tmp_path, f"echo run >>{tmp_path}/runs")
    for _ in range(2):
        found.install()
    assert found.is_current
    (tmp_path / "mocks" / "installed").write_text("sha256:other")
    found.install()
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_missing_prism_is_an_exit_status_of_its_own(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller can tell *not installed* from *does not start*."""
    monkeypatch.setattr(Installation, "node", None)
    done = CliRunner().invoke(main, ["start", "--base-port", "4999"])
    assert done.exit_code == 3
    assert done.output.startswith("error: Node: got none of version 20 or later")
    assert len(done.output.splitlines()) == 1
    assert list(state.rglob("process.json")) == []


def test_base_port_leaves_room_for_all() -> None:
    """A base port whose last server would have no port is refused."""
    assert CliRunner().invoke(main, ["status", "--base-port", "65528"]).exit_code == 2
