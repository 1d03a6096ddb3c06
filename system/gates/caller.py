"""Run commands and call functions of the system, one after the other in one interpreter.

A program of its own, which is passed as source text to the system's interpreter. Its argument is a
list of calls as JSON, or a file with one; it prints the list of what each ended with. An
interpreter takes most of a second to start and to import the system; a call afterwards takes a
millisecond. Uses the standard library and what it is asked to run. The variables of a call are set
for that call only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import os
import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def main(asked: str) -> None:
    """Print what each call ended with, as one JSON list."""
    calls = json.loads(asked if asked[:1] == "[" else Path(asked).read_text(encoding="utf-8"))
    print(json.dumps([_called(one) for one in calls]))  # noqa: T201 (the output of this program)


def _called(one: Mapping[str, Any]) -> dict[str, Any]:
    with _variables(one.get("env", {})):
        return _valued(one) if "function" in one else _ran(one["module"], one["words"])


@contextlib.contextmanager
def _variables(env: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _ran(module: str, words: list[str]) -> dict[str, Any]:
    """Run a module as `python -m` does; return its exit status and both outputs."""
    output, errors, status = io.StringIO(), io.StringIO(), 0
    sys.argv = [module, *words]
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception as error:  # noqa: BLE001 (the interpreter would end with 1)
            status = 1
            errors.write(f"{type(error).__name__}: {error}\n")
    return {"status": status, "output": output.getvalue(), "errors": errors.getvalue()}


def _valued(one: Mapping[str, Any]) -> dict[str, Any]:
    """Call a function with these arguments; return its value, also as shown, or its error."""
    module, _, name = one["function"].partition(":")
    try:
        value = getattr(importlib.import_module(module), name)(*one["arguments"])
    except Exception as error:  # noqa: BLE001 (it is what the call ended with)
        return {"error": f"{type(error).__name__}: {error}"}
    found = vars(value) if dataclasses.is_dataclass(value) else value
    return {"value": json.loads(json.dumps(found, default=str)), "shown": repr(value)}


if __name__ == "__main__":
    main(sys.argv[1])
