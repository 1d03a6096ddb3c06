"""Publishes one ping for each of several environments, and waits for its result in each.

Handed to the system's own interpreter as source text; imports nothing of ours. The libraries are
imported once, and a fork for each environment imports the app anew: a process started for each
would import them all again.

Takes JSON from the variable FORMS: the app, the task, its arguments, how long to wait for results,
and a list of environments. Prints one JSON object, each list in the order of the environments:
``published`` (``task_id``, or the ``error`` that refused it) and ``states``, which is empty
where one of those that must publish was refused.
"""

import importlib
import json
import os
from collections.abc import Callable
from typing import Any

LIBRARIES = ("celery.backends.database", "kombu.transport.sqlalchemy", "psycopg2")


def in_forks(jobs: list[tuple[dict[str, str], Callable[[], dict[str, Any]]]]) -> list[Any]:
    """Do each job in a process with further environment variables, all at once."""
    ends = []
    for environment, job in jobs:
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.environ.update(environment)
            os.write(writing, json.dumps(attempt(job)).encode())
            os._exit(0)
        os.close(writing)
        ends.append(reading)
    told = []
    for reading in ends:
        with os.fdopen(reading, encoding="utf-8") as answer:
            told.append(json.loads(answer.read() or '{"error": "it died"}'))
    return told


def attempt(job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do a job; what it raises is part of what it told."""
    try:
        return job()
    except BaseException as error:  # noqa: BLE001 (a fork must never go on as its parent)
        return {"error": f"{type(error).__name__}: {error}"[:2000]}


def main(asked: dict[str, Any]) -> dict[str, Any]:
    """Publish for each environment, then wait where that is asked for."""
    for name in LIBRARIES:
        importlib.import_module(name)

    def app() -> Any:
        module, _, attribute = asked["app"].partition(":")
        made = getattr(importlib.import_module(module), attribute)
        made.loader.import_default_modules()
        return made

    def publish() -> dict[str, Any]:
        result = app().tasks[asked["task"]].apply_async((), asked["kwargs"])
        if type(result).__name__ == "EagerResult":
            raise RuntimeError("eager mode: it ran on the spot")
        return {"task_id": result.id}

    def wait_for(task_id: str) -> Callable[[], dict[str, Any]]:
        def wait() -> dict[str, Any]:
            result = app().AsyncResult(task_id)
            result.get(timeout=asked["deadline_s"], interval=0.02, propagate=False)
            return {"state": result.state}

        return wait

    forms = asked["forms"]
    published = in_forks([(form["env"], publish) for form in forms])
    awaited = [
        (form["env"], told.get("task_id"))
        for form, told in zip(forms, published, strict=True)
        if form["awaited"]
    ]
    states = []
    if all(task_id for _, task_id in awaited):
        states = in_forks([(env, wait_for(task_id)) for env, task_id in awaited])
    return {"published": published, "states": states}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(os.environ["FORMS"]))))  # noqa: T201 (its answer)
