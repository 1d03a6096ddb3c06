"""The fault kind `http`: a relay before the endpoints of workers answers in their place.

The relay is there in the baseline run too, and forwards everything. The evidence that the fault
landed is what the relay answers to known requests, with a known answer of the endpoint behind it.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateproof.base.wait import wait_until
from gateproof.faults.interface import Fault
from gateproof.stack.http_relay import HOST, Answer, HttpRelay, rendered
from gateproof_evidence.errors import BadInputError

if TYPE_CHECKING:
    from gateproof.description.sut import Sut
    from gateproof.stack.copy import Copy

ENDPOINTS = ("metrics", "health")
FILLED_IN = "{dsn}"
ANY = "*"
"""Ends a path that stands for all that begin so."""
HUNDRED = 100
LANDING_TIMEOUT_S, SAMPLE_DEADLINE_S = 2.0, 30.0
NONSENSE = b"nonsense\r\n\r\n"
SHOWN = 60
ANOTHER = Answer(status=200, content_type="text/plain", body=b"another answer\n")
"""The second answer of the endpoint during landing: a stale relay does not show it."""


@dataclass(kw_only=True)
class Replacing:
    """The rule of a fault, with the paths and texts of one copy filled in."""

    fault: HttpFault
    path: str
    secret: str
    most_connections: int
    ends_with_nonsense: bool
    _kept: Answer | None = None

    def takes(self, method: str, path: str) -> bool:
        """Return whether the relay answers: its own path, and one of the methods."""
        asked = path.partition("?")[0]
        ours = asked.startswith(self.path[:-1]) if self.path.endswith(ANY) else asked == self.path
        return ours and (self.fault.any_method or method == self.fault.method)

    def asked_as(self, method: str) -> str:
        """Return the method with which the endpoint is asked."""
        return self.fault.method if self.fault.any_method else method

    def delay_s(self, answer: Answer) -> float:
        """Return the delay of an answer to which the fault applies."""
        return self.fault.delay_s if self._applies(answer) else 0.0

    def changed(self, answer: Answer) -> Answer:
        """Return the answer in place of the endpoint's."""
        if self._kept is not None:
            return self._kept
        if not self._applies(answer):
            return answer
        found = self._edited(answer)
        self._kept = found if self.fault.stale else None
        return found

    def _applies(self, answer: Answer) -> bool:
        return self.fault.when_status in (0, answer.status, answer.status // HUNDRED)

    def _edited(self, answer: Answer) -> Answer:
        fault = self.fault
        text = answer.body.decode("utf-8", errors="replace")
        if fault.body is not None:
            text = fault.body.replace(FILLED_IN, self.secret)
        if fault.pattern:
            text = re.sub(fault.pattern, self._new_text, text, flags=re.MULTILINE | re.DOTALL)
        return Answer(
            status=fault.status or answer.status,
            content_type=fault.content_type or answer.content_type,
            body=text.encode(),
        )

    def _new_text(self, found: re.Match[str]) -> str:
        if self.fault.factor is None:
            return found.expand(self.fault.replacement).replace(FILLED_IN, self.secret)
        head, _, number = found[0].rpartition(" ")
        return f"{head} {float(number) * self.fault.factor:g}"


@dataclass(frozen=True, kw_only=True)
class HttpFault(Fault):
    """An answer in place of an endpoint's."""

    kind = "http"
    passage = "a relay before its endpoints"

    endpoint: str
    method: str = "GET"
    status: int = 0
    content_type: str = ""
    body: str | None = None
    pattern: str = ""
    replacement: str = ""
    factor: float | None = None
    delay_s: float = 0.0
    stale: bool = False
    any_method: bool = False
    when_status: int = 0
    most_connections: int = 0
    ends_with_nonsense: bool = False
    sample: str | None = None

    def describe(self) -> str:
        """Return the endpoint and what the relay does."""
        default = HttpFault(name=self.name, endpoint=self.endpoint)
        changed = [
            f"{name}={value!r}"
            for name, value in vars(self).items()
            if value != getattr(default, name) and name != "sample"
        ]
        return f"a relay answers for {self.endpoint}: {', '.join(changed)}"

    def prepare(self, copy: Copy) -> None:
        """Put the relay before the endpoints of the workers that start later."""
        copy.stack.put_in_front(HttpRelay())

    def change_inertly(self, copy: Copy) -> str:
        """Set the relay to forward everything, which it does already."""
        copy.stack.front.rule = None
        return "the relay is set to forward everything again"

    def fingerprint(self, copy: Copy) -> str:
        """Return what the relay answers to known requests, with a known answer behind it."""
        sample = self._sample_of(copy)
        first = replace(sample, status=self._status_of_sample or sample.status)
        with endpoint_of(first, self.method) as url:
            relay = HttpRelay()
            try:
                relay.rule = self._rule(copy) if copy.stack.front.rule else None
                base = relay.in_front_of(url)
                return observed(base, path_of(self.endpoint, copy.sut), self)
            finally:
                relay.stop()

    @property
    def _status_of_sample(self) -> int:
        """The status of the endpoint's answer in the evidence; 503 of all that begin with 5."""
        class_of_statuses = 0 < self.when_status < HUNDRED
        return self.when_status * HUNDRED + 3 if class_of_statuses else self.when_status

    def inject(self, copy: Copy) -> None:
        """Let the relay answer from now on."""
        copy.stack.front.rule = self._rule(copy)

    def _rule(self, copy: Copy) -> Replacing:
        return Replacing(
            fault=self,
            path=path_of(self.endpoint, copy.sut),
            secret=self._secret(copy),
            most_connections=self.most_connections,
            ends_with_nonsense=self.ends_with_nonsense,
        )

    def _secret(self, copy: Copy) -> str:
        """Return the DSN of a worker, if the fault shows it."""
        shown = FILLED_IN in f"{self.body}{self.replacement}"
        return copy.stack.inner_dsn(copy.sut.worker.role) if shown else ""

    def _sample_of(self, copy: Copy) -> Answer:
        """Return the answer of a worker of the copy, or the given sample."""
        if self.sample is not None:
            return Answer(status=200, content_type="text/plain", body=self.sample.encode())
        front = copy.stack.front
        if front.sample is None:
            front.sample = _ask_worker(copy, path_of(self.endpoint, copy.sut))
        return front.sample


def path_of(endpoint: str, sut: Sut) -> str:
    """Return the path of an endpoint of the description, or a path as it is."""
    return str(getattr(sut, endpoint).path) if endpoint in ENDPOINTS else endpoint


def _ask_worker(copy: Copy, path: str) -> Answer:
    """Return the answer of a worker that is started for it, and stopped."""
    stack = copy.stack
    with stack.running_worker(name="sample") as worker:
        found = wait_until(
            lambda: stack.http.get(worker.url + path),
            lambda seen: bool(seen.status) or not worker.alive,
            deadline_s=SAMPLE_DEADLINE_S,
            interval_s=0.1,
        )
        worker.stop()
    kind = found.headers.get("content-type", "")
    return Answer(status=found.status or 200, content_type=kind, body=found.body.encode())


@contextmanager
def endpoint_of(first: Answer, method: str = "GET") -> Iterator[str]:
    """Serve an answer to the first request and another to later ones, 405 to other methods."""
    listening = socket.create_server((HOST, 0))
    answers = [first]

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=reply, args=(connection,), daemon=True).start()

    def reply(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            head = connection.recv(65536)
            if head.startswith(f"{method} ".encode()):
                connection.sendall(rendered(answers.pop() if answers else ANOTHER))
            elif head:
                connection.sendall(rendered(replace(ANOTHER, status=405)))

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://{HOST}:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def observed(base: str, path: str, fault: HttpFault) -> str:
    """Return the answers to two requests and one of another method, and to what it counts."""
    path = path.removesuffix(ANY)
    methods = (fault.method, fault.method, "POST" if fault.method == "GET" else "GET")
    lines = [f"{method} {path}: {asked(base, method, path)}" for method in methods]
    if fault.most_connections:
        lines.append(f"connection {fault.most_connections + 1}: {crowded(base, fault)}")
    if fault.ends_with_nonsense:
        with suppress(OSError), socket.create_connection(_address(base)) as connection:
            connection.settimeout(LANDING_TIMEOUT_S)
            connection.sendall(NONSENSE)
            connection.recv(1)
        lines.append(f"after nonsense, GET {path}: {asked(base, 'GET', path)}")
    return "\n".join(lines)


def asked(base: str, method: str, path: str) -> str:
    """Return an answer in words: status, type, digest and the beginning of the body."""
    import httpx

    try:
        with httpx.Client(trust_env=False, timeout=LANDING_TIMEOUT_S) as client:
            answer = client.request(method, base + path)
    except httpx.HTTPError as error:
        return f"no answer ({type(error).__name__})"
    digest = hashlib.sha256(answer.content).hexdigest()[:16]
    kind = answer.headers.get("content-type", "no type")
    return f"{answer.status_code} {kind}, sha256:{digest}, {answer.text[:SHOWN]!r}"


def crowded(base: str, fault: HttpFault) -> str:
    """Return whether one connection more than allowed is closed."""
    held = [socket.create_connection(_address(base)) for _ in range(fault.most_connections)]
    try:
        with socket.create_connection(_address(base)) as last:
            last.settimeout(LANDING_TIMEOUT_S / 2)
            return "closed" if last.recv(1) == b"" else "open"
    except TimeoutError:
        return "open"
    except OSError:
        return "closed"
    finally:
        for one in held:
            one.close()


def _address(base: str) -> tuple[str, int]:
    return HOST, int(base.rpartition(":")[2])


def http(
    name: str,
    endpoint: str,
    *,
    method: str = "GET",
    status: int = 0,
    content_type: str = "",
    body: str | None = None,
    pattern: str = "",
    replacement: str = "",
    factor: float | None = None,
    delay_s: float = 0.0,
    stale: bool = False,
    any_method: bool = False,
    when_status: int = 0,
    most_connections: int = 0,
    ends_with_nonsense: bool = False,
    sample: str | None = None,
) -> HttpFault:
    """Break a claim by what an endpoint of a worker, or of another process, answers.

    Args:
        name: a slug.
        endpoint: ``metrics`` or ``health`` of the description, or a path; one that ends with ``*``
            stands for all that begin so.
        method: the method of the requests.
        status: another status; 0 keeps the endpoint's.
        content_type: another content type; empty keeps the endpoint's.
        body: another body; ``{dsn}`` in it becomes the DSN of a worker.
        pattern: a regular expression (multi-line, dot matches all) for parts of the body ...
        replacement: ... and what replaces each part, with ``{dsn}`` as in `body`; or ...
        factor: ... the factor for the number at the end of each part.
        delay_s: how much later the answer comes, in seconds.
        stale: repeat the first answer to which the fault applies for ever.
        any_method: answer every method like `method`.
        when_status: apply only to answers of the endpoint with this status, or with 5 to all from
            500 to 599; 0 for all.
        most_connections: close each connection that is opened while this many are open.
        ends_with_nonsense: accept no connection after a first line that is no request.
        sample: the endpoint's answer for the evidence that the fault landed; by default, a worker
            of the copy is asked.

    Raises:
        BadInputError: nothing is changed, or the pattern is no regular expression.

    """
    fault = HttpFault(
        name=name,
        endpoint=endpoint,
        method=method,
        status=status,
        content_type=content_type,
        body=body,
        pattern=pattern,
        replacement=replacement,
        factor=factor,
        delay_s=delay_s,
        stale=stale,
        any_method=any_method,
        when_status=when_status,
        most_connections=most_connections,
        ends_with_nonsense=ends_with_nonsense,
        sample=sample,
    )
    bare = HttpFault(
        name=name, endpoint=endpoint, method=method, sample=sample, when_status=when_status
    )
    if fault == bare:
        raise BadInputError(f"falsifier {name}: got nothing that changes, expected one at least")
    try:
        re.compile(pattern)
    except re.error as error:
        raise BadInputError(
            f"falsifier {name}: pattern: got {pattern!r} ({error}), expected a regular expression"
        ) from error
    return fault
