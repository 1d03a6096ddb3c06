"""The environment `containers`, if an engine answers: the same guarantees as embedded."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateproof.base.errors import EnvironmentProblemError, HarnessError, NotReadyError
from gateproof.base.project import copy_project
from gateproof.base.wait import wait_until
from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from gateproof.environments.containers.environment import Containers
from gateproof.environments.containers.image import (
    build_arguments,
    inputs_digest,
    read_context,
    system_image,
)
from gateproof.environments.containers.process import status_of
from gateproof.environments.engine import (
    LOCAL,
    RUN_LABEL,
    Engine,
    engine_options,
    find_engine,
)
from gateproof.environments.interface import CanDisconnect, CanKillChild, CanRestart, require
from gateproof.environments.leftover import ENGINE_MARK, remove
from gateproof.probes.recorder import Recorder
from gateproof.run.choice import decide
from gateproof.stack.bring_up import BringUp
from gateproof.stack.stack import Stack
from gateproof_evidence.format.recording.journal import Journal
from gateproof_evidence.redaction.redactor import Redactor

ROOT = Path(__file__).parents[3]
POSTGRES = "postgres:15-bookworm"
NO_ENGINE = "unix:///nowhere/engine.sock"
COMMANDS = """
import glob, pathlib
for path in glob.glob("/proc/[0-9]*/cmdline"):
    print(pathlib.Path(path).read_bytes())
"""


def engine_or_skip() -> None:
    """Skip the test if no engine answers, so that it is reported as skipped and not as passed."""
    try:
        find_engine()
    except EnvironmentProblemError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def described() -> Sut:
    """The description of the reference system."""
    return load_sut(ROOT / "system" / "sut.toml")


MakeContainers = Callable[..., Containers]


@pytest.fixture(scope="module")
def make(described: Sut) -> Iterator[MakeContainers]:
    """Creates environments that are disposed of after the tests."""
    engine_or_skip()
    made: list[Containers] = []

    def new(**options: Any) -> Containers:
        values = {"postgres_image": POSTGRES, "learn_secret": lambda _name, _value: None, **options}
        made.append(Containers(reason="a test", sut=described, **values))
        return made[-1]

    yield new
    for environment in made:
        environment.dispose()


@pytest.fixture(scope="module")
def contained(
    make: MakeContainers, described: Sut, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BringUp]:
    """The reference system in containers."""
    data = tmp_path_factory.mktemp("data")
    redactor = Redactor()
    journal = Journal(data / "journal.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC))
    made = BringUp(
        environment=make(learn_secret=redactor.add_secret),
        sut=described,
        recorder=Recorder(journal, redactor, data),
        ready_deadline_s=60,
        progress=lambda _: None,
        learn_secret=redactor.add_secret,
    )
    yield made
    made.dispose()
    journal.close()


@pytest.fixture
def inside(contained: BringUp) -> Iterator[Stack]:
    """A stack for one test."""
    stack = contained.own_stack()
    yield stack
    stack.dispose()


def left_behind(name: str) -> list[str]:
    """Return the ids of everything with a run's label on the engine."""
    engine = Engine(run=name)
    label = {"label": f"{RUN_LABEL}={name}"}
    try:
        found = engine.client.containers.list(all=True, filters=label)
        found += engine.client.networks.list(filters=label)
        found += engine.client.volumes.list(filters=label)
        return [str(one.id) for one in found]
    finally:
        engine.close()


def test_worker_in_a_container_answers_and_stops_warmly(inside: Stack) -> None:
    """A child of the container's first process answers a ping; a stop gives exit status 0."""
    worker = inside.worker
    result = inside.tasks.run(inside.sut.ping.task)
    assert result.state == "SUCCESS"
    assert result.value["parent_pid"] == worker.pid
    assert result.value["pid"] in worker.children()
    assert inside.http.get(worker.health_url).status == 200
    assert {one.remote_port for one in worker.connections()} == {inside.server.inside.port}
    assert worker.stop() == 0
    assert worker.log().lines


def test_worker_that_is_killed_has_the_status_of_the_signal(inside: Stack) -> None:
    """The exit status is -9 after SIGKILL, and the output of the worker is kept."""
    worker = inside.worker
    worker.kill()
    assert worker.wait_exit() == -9
    assert worker.log().lines


def test_only_a_child_of_a_worker_can_be_killed(inside: Stack) -> None:
    """A child is killed; a process that is not a child is refused."""
    worker = inside.worker
    victim = worker.children()[0]
    worker.kill_child(victim)
    children = wait_until(worker.children, lambda pids: victim not in pids, deadline_s=10)
    assert victim not in children
    assert inside.tasks.run(inside.sut.ping.task).state == "SUCCESS"
    killing = require(worker.process, CanKillChild, "a test")
    with pytest.raises(HarnessError, match="child of 1: got 1, expected one of"):
        killing.kill_child(1)


def test_child_of_a_worker_can_be_paused(inside: Stack) -> None:
    """A paused child is stopped until it is resumed; its worker runs on."""
    worker = inside.worker
    child = worker.children()[0]
    status = ["cat", f"/proc/{child}/stat"]
    container = worker.process.container  # type: ignore[attr-defined]

    def is_stopped() -> bool:
        return bool(container.exec_run(status).output.split()[2] == b"T")

    worker.pause_child(child)
    assert wait_until(is_stopped, deadline_s=10)
    worker.resume_child(child)
    assert not wait_until(is_stopped, lambda stopped: not stopped, deadline_s=10)
    assert worker.alive


def test_container_of_a_worker_is_restricted(inside: Stack) -> None:
    """It is not root and has a read-only root, no capabilities, limits, loopback ports, a label."""
    container = inside.worker.process.container  # type: ignore[attr-defined]
    container.reload()
    host = container.attrs["HostConfig"]
    assert container.attrs["Config"]["User"] == "10001:10001"
    assert (host["ReadonlyRootfs"], host["SecurityOpt"]) == (True, ["no-new-privileges"])
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    bound = [one for ends in container.ports.values() for one in ends or ()]
    assert {one["HostIp"] for one in bound} == {"127.0.0.1"}
    assert container.labels[RUN_LABEL]
    wrote = container.exec_run(["touch", "/app/written"])
    assert wrote.exit_code != 0
    assert b"Read-only file system" in wrote.output


def test_volume_of_the_system_keeps_what_a_killed_worker_wrote(inside: Stack) -> None:
    """The root file system is read-only; the next process reads what was written to the volume."""
    assert inside.sut.image is not None
    folder = inside.sut.image.volumes[0]
    outside, kept = f"{Path(folder).parent}/written", f"{folder}/{secrets.token_hex(4)}"
    container = inside.worker.process.container  # type: ignore[attr-defined]
    refused = container.exec_run(["touch", outside])
    assert (refused.exit_code, b"Read-only file system" in refused.output) == (1, True)
    wrote = container.exec_run(["/bin/sh", "-c", f"echo kept > {kept}"])
    assert (wrote.exit_code, wrote.output) == (0, b"")
    inside.worker.kill()
    inside.worker.dispose()
    read = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_text(), end='')"
    words = [sys.executable, "-c", read, kept]
    assert inside.process.run(words, env={}, folder=inside.sut.folder).output == "kept\n"
    with inside.running_worker() as next_one:
        found = next_one.process.container.exec_run(["cat", kept])  # type: ignore[attr-defined]
    assert found.output == b"kept\n"


def test_worker_on_the_port_of_another_exits(inside: Stack) -> None:
    """It shares the network of the other worker, finds the port taken, and exits with 1."""
    with inside.running_worker(share_port=inside.worker) as other:
        assert other.wait_exit() == 1
        assert "9540" in "\n".join(other.log().lines)


def test_command_past_its_deadline_is_killed_and_not_judged(inside: Stack) -> None:
    """It raises an error; a command that exits in time has its status and output."""
    slow = [sys.executable, "-c", "import threading; threading.Event().wait(60)"]
    with pytest.raises(NotReadyError, match=r"got no exit within 0\.5 s, expected one"):
        inside.process.run(slow, env={}, folder=inside.sut.folder, deadline_s=0.5)
    listed = inside.process.run([sys.executable, "-c", COMMANDS], env={}, folder=inside.sut.folder)
    assert "cmdline" in listed.output, "premise: the listing contains its own process"
    assert "wait(60)" not in listed.output
    code = "import os; os.write(1, b'a'); os.write(2, b'b'); os.write(1, b'c'); os._exit(3)"
    ended = inside.process.run([sys.executable, "-c", code], env={}, folder=inside.sut.folder)
    assert (ended.exit_status, ended.output) == (3, "abc")


def test_folder_that_a_variable_names_is_mounted_read_only(inside: Stack, tmp_path: Path) -> None:
    """A folder in the temporary directory is mounted at the same path and cannot be written."""
    folder = tmp_path / "named"
    folder.mkdir(mode=0o755)
    (folder / "word").write_text("kept", encoding="utf-8")
    code = f"import pathlib; p = pathlib.Path({str(folder / 'word')!r}); print(p.read_text())"
    read, write = ([sys.executable, "-c", code + more] for more in ("", "; p.write_text('')"))
    env, place = {"PYTHONPATH": str(folder)}, inside.sut.folder
    assert inside.process.run(read, env=env, folder=place).output == "kept\n"
    assert inside.process.run(write, env=env, folder=place).exit_status == 1


def test_server_in_a_container_is_stopped_paused_and_disconnected(contained: BringUp) -> None:
    """Stopped, paused or disconnected, it does not answer; afterwards it has the same address."""
    stack = contained.own_stack(own_server=True)
    stack.sql.execute("CREATE TABLE kept AS SELECT 7 AS n")
    for interruption in (stack.server_stopped, stack.server_paused, stack.server_disconnected):
        with interruption():
            assert not stack.server.answers()
        assert stack.sql.query("SELECT n FROM kept").scalar() == 7
    assert stack.worker.alive
    stack.dispose()
    stack.server.stop()
    assert not stack.server.answers()


def test_copy_of_a_server_is_independent(make: MakeContainers) -> None:
    """A copy has the data, the same password and another address, and shares no state."""
    environment = make()
    first = environment.new_server("first")
    require(first, CanRestart, "a test").halt()
    copy = environment.copy_server(first, "copy")
    assert copy.answers()
    assert not first.answers()
    require(first, CanRestart, "a test").resume_service()
    assert first.answers()
    assert (copy.outside, copy.inside) != (first.outside, first.inside)
    assert isinstance(copy, CanDisconnect)


def test_environment_in_containers_leaves_nothing_behind(make: MakeContainers) -> None:
    """Containers, volumes, the network and the folder are gone after disposal."""
    environment = make()
    environment.new_server("main")
    launcher = environment.launcher
    launcher.start("sleeper", ["sleep", "600"], env={}, folder=ROOT)
    name = environment.folder.name
    assert len(left_behind(name)) >= 6, (
        "premise: server, command container, sleeper, 2 volumes, network"
    )
    environment.dispose()
    assert left_behind(name) == []
    assert not environment.folder.exists()


def test_leftovers_on_the_engine_are_found_by_the_folder(make: MakeContainers) -> None:
    """Removing the folder of an abandoned run also removes its objects on the engine."""
    environment = make()
    environment.new_server("main")
    assert left_behind(environment.folder.name)
    remove(environment.folder)
    assert left_behind(environment.folder.name) == []


def request_and_disconnect(path: str, body: dict[str, object]) -> None:
    """Send a request to a local engine and disconnect at once, like a killed process."""
    host = engine_options()["base_url"]
    if not host.startswith(LOCAL):
        pytest.skip(f"{host}: not an engine of this machine")
    content = json.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(host.removeprefix(LOCAL))
        client.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n{content}".encode())


def test_objects_that_an_engine_creates_late_are_removed_too(make: MakeContainers) -> None:
    """An object that a killed run requested appears after the first scan and is removed too."""
    environment = make()
    name = environment.folder.name
    (environment.folder / ENGINE_MARK).touch()
    begun = int(time.time())
    request_and_disconnect("/networks/create", {"Name": name, "Labels": {RUN_LABEL: name}})
    remove(environment.folder)
    with closing(Engine(run=name)) as engine:
        filters = {"type": "network", "event": "create", "network": name}
        until = int(time.time()) + 1
        made = engine.client.api.events(since=begun, until=until, filters=filters, decode=True)
        assert len(list(made)) == 1, "premise: the engine created it"
    assert left_behind(name) == []


def test_bring_up_that_fails_leaves_nothing_behind(make: MakeContainers) -> None:
    """An image without PostgreSQL is reported in one line, and its container is removed."""
    environment = make(postgres_image="python:3.11-slim-bookworm")
    with pytest.raises(
        EnvironmentProblemError, match=r"PostgreSQL in a container: .*--postgres-im"
    ):
        environment.new_server("main")
    environment.dispose()
    assert left_behind(environment.folder.name) == []


@pytest.mark.parametrize("option", ["--postgres-image", "--system-image"])
def test_image_that_is_not_available_is_an_environment_problem(
    make: MakeContainers, option: str
) -> None:
    """The message names the image and the option that selects another, in one line."""
    name = f"localhost:1/no-such-{secrets.token_hex(4)}:none"
    key = option.removeprefix("--").replace("-", "_")
    environment = make(**{"image" if key == "system_image" else key: name})
    with pytest.raises(EnvironmentProblemError, match=f"{name}: .*{option}") as caught:
        _ = environment.launcher if key == "system_image" else environment.new_server("main")
    assert "\n" not in str(caught.value)


def test_image_is_built_once_for_the_same_inputs(described: Sut) -> None:
    """The same context and labels give the same tag; other content or another commit do not."""
    engine_or_skip()
    engine = Engine(run="gp-test-image")
    first, second = system_image(engine, described), system_image(engine, described)
    engine.close()
    assert first.id == second.id
    context = read_context(described)
    assert "system/worker.py" in context
    assert not [name for name in context if "__pycache__" in name or name.startswith("tests/")]
    labels = {"COMMIT": "one"}
    digest = inputs_digest(context, labels)
    assert inputs_digest({**context, "system/worker.py": b"other"}, labels) != digest
    assert inputs_digest(context, {"COMMIT": "two"}) != digest


def test_image_names_the_commit_that_it_was_built_from(described: Sut, tmp_path: Path) -> None:
    """The label is the commit of the checkout, or unknown if there is no checkout."""
    engine_or_skip()
    copy_project(described.folder, tmp_path / "copy")
    copy = described.moved_to(tmp_path / "copy")
    (copy.folder / "system" / "note.py").write_text("# gives the image a tag of its own\n")
    engine = Engine(run="gp-test-image")

    def revision() -> str:
        image = system_image(engine, copy)
        made.add(image.tags[0])
        return str(image.attrs["Config"]["Labels"]["org.opencontainers.image.revision"])

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(copy.folder)]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    made: set[str] = set()
    labels = [revision()]
    git("init", "-q")
    committed = []
    for message in ("one", "two"):
        git("commit", "-q", "--allow-empty", "-m", message)
        committed.append(git("rev-parse", "HEAD"))
        labels.append(revision())
    for tag in made:
        engine.client.images.remove(tag)
    engine.close()
    assert labels == ["unknown", *committed]


def test_image_has_a_health_check_and_no_variables_of_the_build(
    contained: BringUp, described: Sut
) -> None:
    """It has a health check and no variable of pip or of a proxy."""
    contained.start()
    engine = Engine(run="gp-test-image")
    image = system_image(engine, described)
    base = engine.client.images.get("python:3.11-slim-bookworm").attrs["Config"]["Env"]
    engine.close()
    config = image.attrs["Config"]
    assert "/health" in str(config["Healthcheck"]["Test"])
    added = {one.split("=")[0] for one in config["Env"] if one not in base}
    assert added == {
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "CELERY_METRICS_ADDR",
        "CELERY_METRICS_PORT",
        "SYSTEM_API_ADDRESS",
        "SYSTEM_DEAD_LETTER_SPOOL",
    }
    assert described.image is not None
    assert image.id in contained.environment.images.values(), "(it can have several names)"


def test_build_gets_only_variables_for_the_package_index() -> None:
    """Proxies and index settings of pip are passed on if they are set; no other variable is."""
    given = {
        "PIP_INDEX_URL": "https://index",
        "https_proxy": "http://p",
        "HOME": "/",
        "NO_PROXY": "",
    }
    expected = {"PIP_INDEX_URL": "https://index", "https_proxy": "http://p"}
    assert build_arguments(given) == expected


def test_engine_that_does_not_answer_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The environment problem has a message of what to do."""
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)
    with pytest.raises(
        EnvironmentProblemError, match=r"container engine: .*--environment embedded"
    ):
        Engine(run="gp-test-no-engine")


def test_auto_uses_containers_only_if_an_engine_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without an engine or an image of the system, auto chooses embedded with a reason."""
    assert decide("auto", has_image=False)[0] == "embedded"
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)
    kind, reason = decide("auto", has_image=True)
    assert kind == "embedded"
    assert reason.startswith("chosen by auto: container engine: ")
    assert "\n" not in reason
    monkeypatch.undo()
    engine_or_skip()
    kind, reason = decide("auto", has_image=True)
    assert (kind, "answers" in reason) == ("containers", True)


@pytest.mark.parametrize(("code", "status"), [(0, 0), (1, 1), (128, 128), (137, -9), (143, -15)])
def test_status_of_a_container_is_negative_for_a_signal(code: int, status: int) -> None:
    """The engine adds 128 to the number of a signal, like a shell."""
    assert status_of(code) == status
