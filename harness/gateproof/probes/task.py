"""The task probe: publishes through the system's own app and waits for results.

Exchanges JSON lines with `gateproof.guest.publisher`, which runs in the system's interpreter.
Refuses eager mode: a task that runs inside the publisher reaches neither broker nor worker.
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

from gateproof.base.errors import HarnessError, NotReadyError
from gateproof.description.celery import PROBE_PREFIX
from gateproof.environments.cause import cause_of
from gateproof.environments.interface import Conversation
from gateproof.probes.recorder import Recorder

START_DEADLINE_S = 120.0
"""How long the first answer may take. On a busy machine six publishers that start at the same time
have needed more than 30 s; a publisher that has ended is noticed at once."""
ANSWER_DEADLINE_S = 30.0
RESULT_DEADLINE_S = 20.0
REFUSED = "Refused"
"""The type of the error of a publisher that serves no request."""
SHOWN = 20_000
"""The maximum length of a request with its answer in a capture, in characters."""


class EagerModeError(AssertionError):
    """A task ran in eager mode, inside the publisher, so its result is no evidence."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """The result of a task, or that there was none by the deadline."""

    task_id: str
    state: str
    value: Any
    """Its return value; for a failure ``{"exception": class name, "message": text}``."""
    timed_out: bool

    @property
    def end(self) -> str:
        """Its state and, of a failure, the exception: ``FAILURE: ValueError: no such order``."""
        raised = self.value if isinstance(self.value, Mapping) else {}
        if self.state != "FAILURE" or "exception" not in raised:
            return self.state
        return f"{self.state}: {raised['exception']}: {raised.get('message', '')}"


@dataclass(frozen=True, kw_only=True)
class Description:
    """The configuration of the system's app, as a publisher sees it."""

    broker: str
    result_backend: str
    eager: bool
    tasks: tuple[str, ...]
    routes: Mapping[str, Mapping[str, str]]
    """Maps task names to ``queue`` and ``routing_key``."""
    queues: Mapping[str, Mapping[str, str]]


class TaskProbe:
    """Publishes tasks and fetches their results through one client process."""

    def __init__(
        self,
        recorder: Recorder,
        conversation: Conversation,
        *,
        prefix: str,
        never: frozenset[str] = frozenset(),
        probe_queues: Sequence[str] = (),
    ) -> None:
        """Create a probe.

        Args:
            recorder: records what it sees.
            conversation: the client process, in the system's interpreter.
            prefix: the common prefix of the names of the system's own tasks.
            never: names of tasks that must not be published.
            probe_queues: the queues to which probe tasks can be published, the default first; none
                if the system has no probe tasks.

        """
        self._never = never
        self._recorder = recorder
        self._conversation = conversation
        self._prefix = prefix
        self._probe_queues = tuple(probe_queues)
        self._answers: queue.Queue[str] = queue.Queue()
        self._asked = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def describe(self) -> Description:
        """Return the configuration of the app."""
        answer = self._ask({"op": "describe", "prefix": self._prefix})
        self._record("describe the app", {}, answer)
        self._refuse_error("describe", answer)
        return Description(**{**answer, "tasks": tuple(answer["tasks"])})

    def publish(
        self,
        task: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        swapped: bool = False,
        **options: Any,
    ) -> str:
        """Publish one task and return its id.

        Args:
            task: name of the task; a task that the app does not know is sent by its name.
            args: positional arguments; UUID, datetime, Decimal and bytes are allowed.
            kwargs: keyword arguments of the same types.
            swapped: give the arguments in the other form: by name those that are given by
                position, or the reverse. By position, those left out become their default or null.
            **options: options of ``apply_async``: queue, headers, task_id, countdown, ...

        Raises:
            EagerModeError: the task ran in eager mode.
            AssertionError: the system refused to publish the task.
            HarnessError: the description says that the task must never be published.

        """
        if task in self._never:
            raise HarnessError(
                f"publish {task}: got a task with `never = true`, expected another: it acts on the "
                "world outside; correct the check, or the description"
            )
        request = {
            "op": "publish",
            "task": task,
            "args": _tag(list(args)),
            "kwargs": _tag(kwargs or {}),
            "options": options,
            **({"swapped": True} if swapped else {}),
        }
        if self._probe_queues and task.startswith(PROBE_PREFIX):
            self._address(request)
        answer = self._ask(request)
        self._record(f"publish {task}", request, answer)
        self._refuse_error(f"publish {task}", answer)
        if answer["eager"]:
            raise EagerModeError(
                f"eager mode: {task} ran inside the publisher, expected a message to the broker; "
                "evidence obtained in eager mode is refused"
            )
        return str(answer["task_id"])

    def result(self, task_id: str, *, deadline_s: float = RESULT_DEADLINE_S) -> TaskResult:
        """Wait for the result of a task; `TaskResult.timed_out` is true if none came."""
        request = {"op": "result", "task_id": task_id, "timeout_s": deadline_s}
        answer = self._ask(request, extra_s=deadline_s)
        self._record(f"result of {task_id}", request, answer)
        self._refuse_error("fetch a result", answer)
        return TaskResult(
            task_id=task_id,
            state=answer["state"],
            value=answer.get("value"),
            timed_out=answer["timed_out"],
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

    def _address(self, request: dict[str, Any]) -> None:
        """Send a probe task to its queue in spite of the system's routes.

        Raises:
            HarnessError: the description has no such queue.

        """
        queue = request["options"].setdefault("queue", self._probe_queues[0])
        if queue not in self._probe_queues:
            raise HarnessError(
                f"queue of a probe task: got {queue}, expected one of "
                f"{', '.join(self._probe_queues)}; describe it in [queues]"
            )
        request["options"].pop("routing_key", None)
        request["in_spite_of_routes"] = True

    def close(self) -> None:
        """Stop the client."""
        self._conversation.dispose()

    def _ask(self, request: dict[str, Any], *, extra_s: float = 0.0) -> dict[str, Any]:
        first, self._asked = self._asked == 0, self._asked + 1
        deadline_s = (START_DEADLINE_S if first else ANSWER_DEADLINE_S) + extra_s
        try:
            self._conversation.stdin.write(json.dumps(request) + "\n")
            self._conversation.stdin.flush()
            line = self._answers.get(timeout=deadline_s)
        except OSError:
            line = ""
        except queue.Empty:
            raise self._unanswered(
                f"gave no answer within {deadline_s:g} s, and still runs"
            ) from None
        if not line:
            raise self._unanswered("ended without an answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _unanswered(self, what: str) -> NotReadyError:
        cause = cause_of(self._conversation.stderr())
        return NotReadyError(f"the publisher {what}: {cause}")

    def _listen(self) -> None:
        for line in self._conversation.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _record(self, what: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        (request, answer), taken = self._recorder.redactor.redact_json(
            [dict(request), dict(answer)]
        )
        text = f"> {json.dumps(request)}\n< {json.dumps(answer)}\n"
        if len(text) > SHOWN:
            text = text[:SHOWN] + f"... {len(text)} characters in total\n"
        short = json.dumps(answer)[:120]
        shown = request if len(str(request)) < SHOWN else {"op": request["op"], "cut": True}
        self._recorder.observe(
            "tasks",
            f"{what} -> {short}",
            data={"asked": shown, "answered": answer},
            text=text,
            taken=taken,
        )

    @staticmethod
    def _refuse_error(what: str, answer: Mapping[str, Any]) -> None:
        error = answer.get("error")
        if error is not None and error["type"] == REFUSED:
            raise HarnessError(error["message"])
        assert error is None, f"the system could not {what}: {error['type']}: {error['message']}"


def _tag(value: Any) -> Any:
    """Encode values that JSON lacks, for `gateproof.guest.publisher`."""
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
