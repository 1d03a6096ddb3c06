"""A program that publishes one ping for each of several environments, and waits for the results.

The system's own interpreter runs it as source text, so it imports nothing of this repository. It
imports the libraries once and forks for each environment, and each fork imports the app. Starting a
new process for each environment would import the libraries each time.

Reads JSON from the variable FORMS: the app, the task, its arguments, how long to wait for results,
and a list of environments. Prints one JSON object whose lists are in the order of the environments:
``published`` (the ``task_id``, or the ``error`` of a failed publication) and ``states``, which is
empty if one of the awaited pings was not published.
"""

import importlib
import json
import os
from collections.abc import Callable
from typing import Any

LIBRARIES = ("celery.backends.database", "kombu.transport.sqlalchemy", "psycopg2")


def in_forks(jobs: list[tuple[dict[str, str], Callable[[], dict[str, Any]]]]) -> list[Any]:
    """Run each job in a fork with additional environment variables, all at the same time."""
    pipes = []
    for environment, job in jobs:
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.environ.update(environment)
            os.write(writing, json.dumps(attempt(job)).encode())
            os._exit(0)
        os.close(writing)
        pipes.append(reading)
    answers = []
    for reading in pipes:
        with os.fdopen(reading, encoding="utf-8") as answer:
            answers.append(
                json.loads(answer.read() or '{"error": "the process ended without an answer"}')
            )
    return answers


def attempt(job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run a job and return its answer, or the exception that it raised."""
    try:
        return job()
    except BaseException as error:  # noqa: BLE001 (a fork must never continue as its parent)
        return {"error": f"{type(error).__name__}: {error}"[:2000]}


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Publish a ping for each environment, then wait for the results that are requested."""
    for name in LIBRARIES:
        importlib.import_module(name)

    def app() -> Any:
        module, _, attribute = request["app"].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        found.loader.import_default_modules()
        return found

    def publish() -> dict[str, Any]:
        result = app().tasks[request["task"]].apply_async((), request["kwargs"])
        if type(result).__name__ == "EagerResult":
            raise RuntimeError("eager mode: the ping ran in the publisher")
        return {"task_id": result.id}

    def wait_for(task_id: str) -> Callable[[], dict[str, Any]]:
        def wait() -> dict[str, Any]:
            result = app().AsyncResult(task_id)
            result.get(timeout=request["deadline_s"], interval=0.02, propagate=False)
            return {"state": result.state}

        return wait

    forms = request["forms"]
    published = in_forks([(form["env"], publish) for form in forms])
    awaited = [
        (form["env"], answer.get("task_id"))
        for form, answer in zip(forms, published, strict=True)
        if form["awaited"]
    ]
    states = []
    if all(task_id for _, task_id in awaited):
        states = in_forks([(env, wait_for(task_id)) for env, task_id in awaited])
    return {"published": published, "states": states}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(os.environ["FORMS"]))))  # noqa: T201 (its answer)
