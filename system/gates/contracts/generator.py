"""Generate requests from a released contract, valid and invalid ones, with a fixed seed.

A program of its own: `python -m system.gates.contracts.generator COUNT SEED FILE...` prints one
JSON object a line. Schemathesis is in a folder that only this program has on its path, since it
loads itself into every run of pytest. This sends nothing: the check signs and sends the requests.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

HOST = "http://host"
OWN = frozenset({"user-agent", "accept-encoding", "accept", "connection", "content-length"})
"""Headers that the sender adds itself."""


def main(count: int, seed: int, files: Sequence[str]) -> None:
    """Print at most `count` requests of each operation and mode."""
    for file in files:
        _generate_all(json.loads(Path(file).read_text(encoding="utf-8")), count, seed)


def _generate_all(document: Any, count: int, seed: int) -> None:
    import schemathesis
    from schemathesis import GenerationMode

    schema = schemathesis.openapi.from_dict(document)
    for path, item in document["paths"].items():
        for method in sorted(set(item) - {"parameters"}):
            operation = schema[path][method.upper()]
            for mode in GenerationMode:
                show = _printer(item[method]["operationId"], str(mode))
                _generate(operation.as_strategy(generation_mode=mode), show, count, seed)


def _generate(strategy: Any, show: Callable[[Any], None], count: int, seed: int) -> None:
    hypothesis: Any = import_module("hypothesis")
    limits = hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.seed(seed)(limits(hypothesis.given(strategy)(show)))()


def _printer(operation: str, mode: str) -> Callable[[Any], None]:
    import requests

    def show(case: Any) -> None:
        made = case.as_transport_kwargs(base_url=HOST)
        made.pop("cookies", None)
        try:
            sent = requests.Request(**made).prepare()
        except (ValueError, requests.RequestException):
            return  # (no client can send it)
        body: Any = sent.body.encode() if isinstance(sent.body, str) else sent.body or b""
        line = {
            "operation": operation,
            "mode": mode,
            "method": sent.method,
            "path": str(sent.url).removeprefix(HOST),
            "headers": dict(filter(_can_be_sent, sent.headers.items())),
            "body": base64.b64encode(body).decode("ascii"),
        }
        print(json.dumps(line))  # noqa: T201 (the output of this program)

    return show


def _can_be_sent(header: tuple[str, Any]) -> bool:
    name, value = header
    if isinstance(value, bytes):
        return False
    own = name.lower() in OWN or name.lower().startswith("x-schemathesis")
    return not own and value.isascii() and value.isprintable() and name.isascii()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
