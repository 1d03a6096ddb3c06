"""The worker probe: one worker process, from its start to its end.

Each action on it (start, signal, exit and so on) is an observation. A worker counts as ready when
it has answered a task that was published through the broker: its process alone does not show that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gateproof.base.wait import wait_until
from gateproof.description.sut import Sut
from gateproof.environments.interface import (
    CanInspect,
    CanKill,
    CanKillChild,
    CanPause,
    CanPauseChild,
    HeldConnection,
    Process,
    require,
)
from gateproof.probes.log import LogFilter, LogLines, parse_entry, read_log
from gateproof.probes.recorder import Recorder

EXIT_DEADLINE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """The configuration that a running worker reports; None for values that it does not report."""

    broker: str | None
    result_backend: str | None
    eager: bool | None
    queues: tuple[str, ...]


class Worker:
    """A worker process of the system under test."""

    def __init__(
        self,
        recorder: Recorder,
        sut: Sut,
        process: Process,
        *,
        name: str,
        url: str,
        port: int,
        queues: tuple[str, ...],
        pool: str,
        log_filter: LogFilter | None = None,
    ) -> None:
        self._recorder = recorder
        self._sut = sut
        self.process = process
        """The underlying process."""
        self.name = name
        self.url = url
        """Base URL of its endpoints."""
        self.port = port
        """Port of its endpoints in the place where it runs."""
        self.queues = queues
        self.pool = pool
        self._filter = log_filter or LogFilter()
        self._record("start", {"queues": queues, "pool": pool, "url": url})

    @property
    def pid(self) -> int:
        """The process id of the worker's main process."""
        return self.process.pid

    @property
    def metrics_url(self) -> str:
        """URL of its metrics."""
        return self.url + self._sut.metrics.path

    @property
    def health_url(self) -> str:
        """URL of its health report."""
        return self.url + self._sut.health.path

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.exit_status is None

    def log(self) -> LogLines:
        """Read its output so far, as one observation."""
        return read_log(self._recorder, self.name, self._output(), changed=self._filter.changed)

    def wait_log(self, *, deadline_s: float = 15.0, **fields: Any) -> LogLines:
        """Wait for a line with these fields and return the log; the caller asserts on it."""
        wait_until(lambda: self._has(fields), deadline_s=deadline_s)
        return self.log()

    def report(self, *, deadline_s: float = 30.0) -> WorkerReport:
        """Wait until the worker has reported its configuration, and return it."""
        names = self._sut.worker.report
        log = self.wait_log(deadline_s=deadline_s, **{self._sut.logs.message: names.message})
        entry = (log.matching(**{self._sut.logs.message: names.message}) or [{}])[-1]
        return WorkerReport(
            broker=entry.get(names.broker),
            result_backend=entry.get(names.result_backend),
            eager=entry.get(names.eager),
            queues=tuple(entry.get(names.queues) or ()),
        )

    def children(self) -> tuple[int, ...]:
        """Return the process ids of its direct children."""
        children = require(self.process, CanInspect, "children of a worker").children()
        self._record("children", {"pids": list(children)})
        return children

    def connections(self) -> tuple[HeldConnection, ...]:
        """Return the TCP connections of the worker and its descendants, each with its owner."""
        connections = require(self.process, CanInspect, "connections of a worker").connections()
        self._record("connections", {"held": [asdict(one) for one in connections]})
        return connections

    def signal(self, name: str | None = None) -> None:
        """Send a signal, by default the stop signal of the system."""
        name = name or self._sut.worker.stop_signal
        self._record(f"signal {name}", {"signal": name})
        self.process.signal(name)

    def wait_exit(self, *, deadline_s: float = EXIT_DEADLINE_S) -> int | None:
        """Wait until it exits; return its exit status, or None if it still runs at the deadline."""
        wait_until(lambda: not self.alive, deadline_s=deadline_s)
        self._record("exit", {"status": self.process.exit_status})
        return self.process.exit_status

    def stop(self, *, deadline_s: float = EXIT_DEADLINE_S) -> int | None:
        """Stop it like an operator would, and wait until it exits."""
        self.signal()
        return self.wait_exit(deadline_s=deadline_s)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._record("kill", {})
        require(self.process, CanKill, "killing a worker").kill()

    def kill_child(self, pid: int) -> None:
        """Kill one of its children with SIGKILL."""
        self._record("kill child", {"child": pid})
        require(self.process, CanKillChild, "killing a worker's child").kill_child(pid)

    def pause_child(self, pid: int) -> None:
        """Pause one of its children with SIGSTOP."""
        self._record("pause child", {"child": pid})
        require(self.process, CanPauseChild, "pausing a worker's child").pause_child(pid)

    def resume_child(self, pid: int) -> None:
        """Resume one of its children with SIGCONT."""
        self._record("resume child", {"child": pid})
        require(self.process, CanPauseChild, "resuming a worker's child").resume_child(pid)

    def pause(self) -> None:
        """Pause it."""
        self._record("pause", {})
        require(self.process, CanPause, "pausing a worker").pause()

    def resume(self) -> None:
        """Resume it."""
        self._record("resume", {})
        require(self.process, CanPause, "pausing a worker").resume()

    def dispose(self) -> None:
        """Kill it in any state."""
        self.process.dispose()

    def _output(self) -> str:
        return self._filter.apply(self.process.output())

    def _has(self, fields: Mapping[str, Any]) -> bool:
        entries = (parse_entry(line) for line in self._output().split("\n"))
        found = any(
            entry is not None and all(entry.get(name) == value for name, value in fields.items())
            for entry in entries
        )
        return found or not self.alive

    def _record(self, act: str, data: Mapping[str, Any]) -> None:
        details = ", ".join(f"{name}={value}" for name, value in data.items())
        self._recorder.observe(
            "worker",
            f"{self.name} (pid {self.pid}): {act} {details}".strip(),
            data={"worker": self.name, "pid": self.pid, "act": act, **data},
            text=f"worker {self.name}, pid {self.pid}: {act}\n"
            + "".join(f"  {name}: {value}\n" for name, value in data.items()),
        )
