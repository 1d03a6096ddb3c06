"""The inspector reads from an app where each task is published, as Celery itself does it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue

from gateproof.draft.application import inspect_app
from gateproof.guest.inspector import route_of, visibility_timeout_of

pytestmark = pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")
"""A queue that a task names itself is deprecated, and systems still have some."""

TOPIC = Exchange("shop", type="topic")


def made(**settings: Any) -> Celery:
    """Return an app with two tasks."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.update(settings)
    app.task(name="shop.send", shared=False)(work)
    app.task(name="shop.count", queue="numbers", shared=False)(work)
    app.finalize()
    return app


def work() -> None:
    """Do nothing: no worker runs it."""


def published(app: Celery, name: str) -> tuple[str, str]:
    """Publish a task and return the queue that it was put into, and its routing key."""
    with app.connection_for_write() as connection:
        task: Any = app.tasks[name]
        task.apply_async(connection=connection)
        for queue in app.amqp.queues.values():
            message = queue(connection.default_channel).get(no_ack=True)
            if message is not None:
                return queue.name, str(message.delivery_info["routing_key"])
    raise AssertionError("no queue has the message")


@pytest.mark.parametrize(
    ("settings", "name", "expected"),
    [
        ({}, "shop.send", ("celery", "celery")),
        ({}, "shop.count", ("numbers", "numbers")),
        ({"task_routes": {"shop.*": {"queue": "mail"}}}, "shop.send", ("mail", "mail")),
        (
            {"task_routes": {"shop.*": {"queue": "mail", "routing_key": "ignored"}}},
            "shop.send",
            ("mail", "mail"),
        ),
        (
            {
                "task_queues": [Queue("mail", TOPIC, routing_key="mail.#")],
                "task_default_queue": "mail",
                "task_routes": {"shop.*": {"queue": "mail", "routing_key": "mail.now"}},
            },
            "shop.send",
            ("mail", "mail.now"),
        ),
        (
            {
                "task_queues": [Queue("mail", TOPIC, routing_key="mail")],
                "task_default_queue": "mail",
            },
            "shop.send",
            ("mail", "mail"),
        ),
    ],
    ids=["default", "of-the-task", "direct", "direct-with-a-key", "topic", "key-of-the-queue"],
)
def test_route_is_the_one_that_celery_uses(
    settings: dict[str, Any], name: str, expected: tuple[str, str]
) -> None:
    """The queue and the routing key are those of the message that Celery sends."""
    app = made(**settings)
    assert route_of(app, name) == expected
    assert published(app, name) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"broker_url": "memory://"}, None),
        ({"broker_url": "sqla+sqlite://"}, None),
        (
            {"broker_url": "sqla+sqlite://", "broker_transport_options": {"visibility_timeout": 9}},
            None,
        ),
    ],
    ids=["memory", "database", "database-with-an-ignored-option"],
)
def test_transport_without_a_timeout_has_none(
    settings: dict[str, Any], expected: float | None
) -> None:
    """An option that the transport ignores is no lease."""
    assert visibility_timeout_of(made(**settings)) == expected


def test_timeout_of_a_transport_is_its_own_or_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport with such a time has a default, which the app's options replace."""
    app = made()
    transport: Any = app.connection_for_write().get_transport_cls()
    channel = transport.Channel
    monkeypatch.setattr(channel, "visibility_timeout", 3600, raising=False)
    assert visibility_timeout_of(app) == 3600.0
    app.conf.broker_transport_options = {"visibility_timeout": 90}
    assert visibility_timeout_of(app) == 90.0


def test_report_of_an_app_has_the_route_of_each_task(tmp_path: Path) -> None:
    """The report has queue and key of the system's tasks, and none of Celery's own."""
    source = (
        "from celery import Celery\n"
        "app = Celery('shop', broker='memory://')\n"
        "@app.task(name='shop.send', queue='mail')\n"
        "def send(order, note='x'): ...\n"
    )
    (tmp_path / "shop.py").write_text(source, encoding="utf-8")
    found = inspect_app("shop:app", python=sys.executable, root=tmp_path, env={})
    assert {name: task.model_dump() for name, task in found.tasks.items()} == {
        "shop.send": {
            "queue": "mail",
            "key": "mail",
            "signature": "(order, note=...)",
            "module": "shop",
        }
    }
    assert found.visibility_timeout_s is None
