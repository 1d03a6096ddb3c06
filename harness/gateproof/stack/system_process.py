"""Another process of the system, as a `[[process]]` of the description has it.

Owns its start, its files, its requests and its end; each is an observation. Workers are
`gateproof.probes.worker`, and commands that end by themselves are `gateproof.probes.process`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from gateproof.base.errors import InconclusiveError, NotReadyError
from gateproof.base.wait import wait_until
from gateproof.description.process import Process as Described
from gateproof.description.process import Request
from gateproof.description.sut import Sut
from gateproof.environments.cause import cause_of
from gateproof.environments.interface import (
    Address,
    CanInspect,
    CanKill,
    CanKillChild,
    CanRemain,
    Environment,
    Process,
    require,
)
from gateproof.probes.http import TIMEOUT_S, Exchange, HttpProbe
from gateproof.probes.log import LogLines, read_log
from gateproof.probes.process import ProcessProbe
from gateproof.probes.recorder import Recorder
from gateproof.stack.watched import Notes, watched

FOLDER, UNIQUE = "{folder}", "{unique}"
SLACK_S = 1.0
"""The time that a busy machine may add to the deadline of an answer."""


@dataclass(frozen=True, kw_only=True)
class Home:
    """The parts of a stack that its processes use."""

    sut: Sut
    environment: Environment
    recorder: Recorder
    http: HttpProbe
    commands: ProcessProbe
    settings: Mapping[str, str]
    """Variables of every process of the stack."""
    ready_deadline_s: float
    inner_dsn: Callable[..., str]
    """`Stack.inner_dsn`."""
    in_front_of: Callable[[str], str]
    """`Stack.in_front_of`."""
    notes: Notes | None
    """See `StackContext.notes`."""
    script: str
    """A shell script that a fault puts before the command; empty for none."""

    def dsns(
        self, described: Described, *, role: str = "", through: Address | None = None
    ) -> dict[str, str]:
        """Return the variables with the DSNs of a process.

        Args:
            described: its description.
            role: another role than its own.
            through: another address of the database, such as that of a relay.

        """
        forms = self.sut.dsns_of(described)
        if not forms:
            return {}
        role = role or self.sut.role_of(described)
        return {
            name: self.inner_dsn(role, form=form, through=through) for name, form in forms.items()
        }


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A request that can be sent, more than once."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes


@dataclass
class SystemProcess:
    """A process of the system that runs or has ended."""

    home: Home
    described: Described
    process: Process
    """The underlying process."""
    own_url: str
    """Base URL of its endpoints."""
    url: str
    """Base URL for requests: `own_url`, or that of the relay that a fault put before it."""
    folder: Path | None = None
    """The folder of its files."""
    _disposed: bool = field(default=False, repr=False)

    @property
    def name(self) -> str:
        """Its name in the description."""
        return self.described.name

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.exit_status is None

    def get(self, path: str, *, timeout_s: float = TIMEOUT_S) -> Exchange:
        """Send a GET request to a path; raise nothing if there is no response."""
        return self.request("GET", path, timeout_s=timeout_s)

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        timeout_s: float = TIMEOUT_S,
    ) -> Exchange:
        """Send a request to a path; raise nothing if there is no response."""
        return self.home.http.request(
            method, self.url + path, headers=headers, content=content, timeout_s=timeout_s
        )

    def sample(self, request: Request) -> Sample:
        """Return a described request that no other of the run equals.

        Raises:
            InconclusiveError: its command failed or printed no request.

        """
        unique = uuid4().hex
        values = request.values()
        body = request.body if isinstance(values["body"], str) else ""
        if isinstance(values["body_file"], str):
            body = (self.home.sut.folder / values["body_file"]).read_text(encoding="utf-8")
        path = values["path"] if isinstance(values["path"], str) else "/"
        printed = self._printed(request) if isinstance(values["sample"], tuple) else {}
        headers = {**request.headers, **printed.get("headers", {})}
        return Sample(
            method=printed.get("method", request.method),
            path=printed.get("path", path).replace(UNIQUE, unique),
            headers={name: value.replace(UNIQUE, unique) for name, value in headers.items()},
            content=printed.get("body", body).replace(UNIQUE, unique).encode(),
        )

    def send(self, sample: Sample, *, timeout_s: float = 0.0) -> Exchange:
        """Send a request.

        Args:
            sample: the request.
            timeout_s: how long to wait for the answer, in seconds; by default, a little longer than
                its `deadline_s`.

        """
        return self.request(
            sample.method,
            sample.path,
            headers=sample.headers,
            content=sample.content,
            timeout_s=timeout_s or self.described.deadline_s + SLACK_S,
        )

    def _printed(self, request: Request) -> dict[str, Any]:
        """Return what the command of a request printed."""
        role = request.values()["role"]
        home, folder = self.home, str(self.folder or "")
        variables = {
            **home.dsns(self.described, role=role if isinstance(role, str) else ""),
            **{name: one.replace(FOLDER, folder) for name, one in self.described.env.items()},
            **home.settings,
        }
        command = home.sut.fill(request.sample)
        done = home.commands.run(command, env=variables, folder=home.sut.folder)
        try:
            found = json.loads((done.output.strip().splitlines() or [""])[-1])
        except ValueError:
            found = None
        if done.exit_status or not isinstance(found, dict):
            raise InconclusiveError(
                f"process.request.sample: {request.name}: got exit {done.exit_status}, "
                f"{done.cause!r}, expected a JSON object with the request; correct the command"
            )
        return found

    def lines(self) -> LogLines:
        """Read its output so far, both streams, as one observation."""
        return read_log(self.home.recorder, self.name, self.process.output())

    def first_answer(self) -> Exchange:
        """Request the path that shows that it is ready, until it answers or the deadline passes.

        Any status but 404 counts: a health report may have another reason to be bad. A process that
        has ended is waited for no longer. The deadline is that of workers (`--ready-deadline`).
        """
        path = self.described.ready_path
        deadline_s = self.home.ready_deadline_s
        return wait_until(
            lambda: self.get(path, timeout_s=deadline_s),
            lambda seen: seen.status not in (0, 404) or not self.alive,
            deadline_s=deadline_s,
        )

    def wait_ready(self) -> None:
        """Wait until it is ready, see `first_answer`.

        Raises:
            NotReadyError: it is not; the message has the end of its output.

        """
        if not self.described.has_endpoint:
            return
        answer = self.first_answer()
        if answer.status in (0, 404):
            status = self.process.exit_status
            got = (answer.error or "status 404") if status is None else f"exit {status}"
            raise NotReadyError(
                f"{self.name}: got {got} at {self.described.ready_path}, expected an answer within "
                f"{self.home.ready_deadline_s:g} s; correct its command, port or paths in "
                f"{self.home.sut.path.name}; the end of its output: "
                f"{cause_of(chr(10).join(self.lines().lines))}"
            )

    def signal(self, name: str | None = None) -> None:
        """Send a signal, by default its stop signal."""
        name = name or self.described.stop_signal
        self._record(f"signal {name}", {"signal": name})
        self.process.signal(name)

    def wait_exit(self, *, deadline_s: float | None = None) -> int | None:
        """Wait until it exits; return its exit status, or None if it still runs at the deadline.

        Args:
            deadline_s: in seconds; by default, its `stop_s`.

        """
        wait_until(lambda: not self.alive, deadline_s=deadline_s or self.described.stop_s)
        self._record("exit", {"status": self.process.exit_status})
        return self.process.exit_status

    def stop(self) -> int | None:
        """Stop it by its signal, and return its exit status; None if it runs at its deadline."""
        self.signal()
        return self.wait_exit()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._record("kill", {})
        require(self.process, CanKill, "killing a process").kill()

    def children(self) -> tuple[int, ...]:
        """Return the process ids of its direct children."""
        found = require(self.process, CanInspect, "children of a process").children()
        self._record("children", {"pids": list(found)})
        return found

    def kill_child(self, pid: int) -> None:
        """Kill one of its children with SIGKILL."""
        self._record("kill child", {"child": pid})
        require(self.process, CanKillChild, "killing a process's child").kill_child(pid)

    def remaining(self) -> tuple[int, ...]:
        """Return the process ids that it started and that still run."""
        found = require(self.process, CanRemain, "processes that are left").remaining()
        self._record("remaining", {"pids": list(found)})
        return found

    def dispose(self) -> None:
        """Kill it in any state, record its output, and delete its files."""
        if self._disposed:
            return
        self._disposed = True
        self.process.dispose()
        self.lines()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _record(self, act: str, data: Mapping[str, Any]) -> None:
        details = ", ".join(f"{name}={value}" for name, value in data.items())
        text = f"process {self.name}, pid {self.process.pid}: {act}\n"
        self.home.recorder.observe(
            "process",
            f"{self.name} (pid {self.process.pid}): {act} {details}".strip(),
            data={"process": self.name, "pid": self.process.pid, "act": act, **data},
            text=text + "".join(f"  {name}: {value}\n" for name, value in data.items()),
        )


def start(
    home: Home,
    described: Described,
    *,
    env: Mapping[str, str],
    files: Mapping[str, str],
    through: Address | None,
) -> SystemProcess:
    """Start a process, without waiting; see `Stack.start_process`.

    Args:
        home: what it shares with its home.
        described: its description.
        env: further variables.
        files: further files, in addition to or in place of the described ones.
        through: another address of the database, such as that of a relay.

    """
    launcher = watched(home.environment.launcher, home.notes)
    port = launcher.free_port()
    folder = _written(home, {**described.files, **files})
    values = described.values()
    variables = {
        **home.sut.env,
        **home.dsns(described, through=through),
        **({values["port"]: str(port)} if isinstance(values["port"], str) else {}),
        **described.env,
        **env,
        **home.settings,
    }
    words = home.sut.fill(described.command, port=port, folder=folder or "")
    process = launcher.start(
        described.name,
        scripted(home.script, words),
        env={name: one.replace(FOLDER, str(folder or "")) for name, one in variables.items()},
        folder=home.sut.folder,
    )
    url = launcher.base_url(process, port) if described.has_endpoint else ""
    started = SystemProcess(
        home=home,
        described=described,
        process=process,
        own_url=url,
        url=home.in_front_of(url) if url else "",
        folder=folder,
    )
    started._record("start", {"url": url, "command": list(described.command)})  # noqa: SLF001 (of this module)
    return started


def scripted(script: str, words: Sequence[str]) -> list[str]:
    """Return the words of a command that a shell script starts as its arguments."""
    return ["/bin/sh", "-c", script, "sh", *words] if script else list(words)


def _written(home: Home, files: Mapping[str, str]) -> Path | None:
    """Write files to a new folder that the system's processes can read; return None without any."""
    if not files:
        return None
    home.environment.files.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="files-", dir=home.environment.files))
    folder.chmod(0o755)
    for name, content in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InconclusiveError(
                f"process.files: got {name}, expected a name inside the folder; correct it"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        path.chmod(0o644)
    return folder
