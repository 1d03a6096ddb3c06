"""The task probe: publishes through the system's own app and waits for results.

Speaks JSON lines with `gateproof.guest.publisher`, which runs in the system's interpreter. Refuses
evidence obtained in eager mode: nothing that ran on the spot reached a broker or a worker.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import queue
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateproof.base.errors import NotReadyError
from gateproof.environments.interface import Conversation
from gateproof.probes.recorder import Recorder

START_DEADLINE_S = 30.0
ANSWER_DEADLINE_S = 30.0
RESULT_DEADLINE_S = 20.0
SHOWN = 20_000
"""Characters of a request and its answer that a capture shows."""


class EagerModeError(AssertionError):
    """A task ran on the spot: what was seen in eager mode is no evidence."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """How a task ended, or that it did not by the deadline."""

    task_id: str
    state: str
    value: Any
    """What it returned; for a failure ``{"exception": class name, "message": text}``."""
    timed_out: bool


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the system's app is configured to, as a publisher sees it."""

    broker: str
    result_backend: str
    eager: bool
    tasks: tuple[str, ...]
    routes: Mapping[str, Mapping[str, str]]
    """Task name to ``queue`` and ``routing_key``."""
    queues: Mapping[str, Mapping[str, str]]


class TaskProbe:
    """Publishes tasks and fetches results through one client process."""

    def __init__(self, recorder: Recorder, conversation: Conversation, *, prefix: str) -> None:
        self._recorder = recorder
        self._conversation = conversation
        self._prefix = prefix
        self._answers: queue.Queue[str] = queue.Queue()
        self._asked = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def describe(self) -> Description:
        """Ask what the app is configured to."""
        told = self._ask({"op": "describe", "prefix": self._prefix})
        self._record("describe the app", {}, told)
        self._refuse_error("describe", told)
        return Description(**{**told, "tasks": tuple(told["tasks"])})

    def publish(
        self,
        task: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> str:
        """Publish one task and return its id.

        Args:
            task: the task's name; one that the app does not know is sent by name.
            args: positional arguments; UUIDs, datetimes, Decimals and bytes are allowed.
            kwargs: keyword arguments, likewise.
            **options: as ``apply_async`` takes them: queue, headers, task_id, countdown, ...

        Raises:
            EagerModeError: it ran on the spot.
            AssertionError: the system refused to publish it.

        """
        request = {
            "op": "publish",
            "task": task,
            "args": _tag(list(args)),
            "kwargs": _tag(kwargs or {}),
            "options": options,
        }
        told = self._ask(request)
        self._record(f"publish {task}", request, told)
        self._refuse_error(f"publish {task}", told)
        if told["eager"]:
            raise EagerModeError(
                f"eager mode: {task} ran inside the publisher, expected a message to the broker; "
                "evidence obtained in eager mode is refused"
            )
        return str(told["task_id"])

    def result(self, task_id: str, *, deadline_s: float = RESULT_DEADLINE_S) -> TaskResult:
        """Wait for a task's result; `TaskResult.timed_out` tells that none came."""
        request = {"op": "result", "task_id": task_id, "timeout_s": deadline_s}
        told = self._ask(request, extra_s=deadline_s)
        self._record(f"result of {task_id}", request, told)
        self._refuse_error("fetch a result", told)
        return TaskResult(
            task_id=task_id,
            state=told["state"],
            value=told.get("value"),
            timed_out=told["timed_out"],
        )

    def run(
        self,
        task: str,
        kwargs: Mapping[str, Any] | None = None,
        *,
        deadline_s: float = RESULT_DEADLINE_S,
        **options: Any,
    ) -> TaskResult:
        """Publish one task and wait for its result."""
        return self.result(self.publish(task, (), kwargs, **options), deadline_s=deadline_s)

    def close(self) -> None:
        """End the client."""
        self._conversation.dispose()

    def _ask(self, request: dict[str, Any], *, extra_s: float = 0.0) -> dict[str, Any]:
        first, self._asked = self._asked == 0, self._asked + 1
        deadline_s = (START_DEADLINE_S if first else ANSWER_DEADLINE_S) + extra_s
        try:
            self._conversation.stdin.write(json.dumps(request) + "\n")
            self._conversation.stdin.flush()
            line = self._answers.get(timeout=deadline_s)
        except (OSError, queue.Empty):
            line = ""
        if not line:
            lines = self._conversation.complaint().strip().splitlines() or ["it said nothing"]
            raise NotReadyError(
                f"the publisher gave no answer within {deadline_s:g} s: {lines[-1]}"
            )
        told: dict[str, Any] = json.loads(line)
        return told

    def _listen(self) -> None:
        for line in self._conversation.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _record(self, what: str, request: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        (request, told), taken = self._recorder.redactor.redact_json([dict(request), dict(told)])
        text = f"> {json.dumps(request)}\n< {json.dumps(told)}\n"
        if len(text) > SHOWN:
            text = text[:SHOWN] + f"... {len(text)} characters in all\n"
        short = json.dumps(told)[:120]
        shown = request if len(str(request)) < SHOWN else {"op": request["op"], "cut": True}
        self._recorder.observe(
            "tasks",
            f"{what} -> {short}",
            data={"asked": shown, "answered": told},
            text=text,
            taken=taken,
        )

    @staticmethod
    def _refuse_error(what: str, told: Mapping[str, Any]) -> None:
        error = told.get("error")
        assert error is None, f"the system could not {what}: {error['type']}: {error['message']}"


def _tag(value: Any) -> Any:
    """Mark values that JSON lacks, as `gateproof.guest.publisher` reads them."""
    if isinstance(value, Mapping):
        return {key: _tag(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_tag(inner) for inner in value]
    if isinstance(value, uuid.UUID):
        return {"__type__": "uuid", "value": str(value)}
    if isinstance(value, dt.datetime):
        return {"__type__": "datetime", "value": value.isoformat()}
    if isinstance(value, decimal.Decimal):
        return {"__type__": "decimal", "value": str(value)}
    if isinstance(value, bytes):
        return {"__type__": "bytes", "value": base64.b64encode(value).decode()}
    return value
