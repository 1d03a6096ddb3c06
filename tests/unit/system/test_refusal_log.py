"""Log lines about refused messages."""

from __future__ import annotations

import logging

import pytest
from celery.worker.consumer import consumer

from system.observability.refusal_log import REPLACEMENTS, shorten


@pytest.mark.parametrize("template", REPLACEMENTS)
def test_refused_message_is_not_quoted(template: str) -> None:
    """A log line about a refused message contains nothing of the message."""
    content = ["{'token': 'hunter22'}"] * template.count("%")
    record = logging.makeLogRecord({"msg": template, "args": tuple(content)})
    assert "hunter22" in record.getMessage()
    assert shorten(record)
    assert record.getMessage() == REPLACEMENTS[template]


def test_other_lines_of_the_consumer_are_unchanged() -> None:
    """A line that quotes no message keeps Celery's text."""
    record = logging.makeLogRecord(
        {"msg": vars(consumer)["CONNECTION_ERROR"], "args": ("a", "b", "c")}
    )
    assert shorten(record)
    assert record.getMessage().startswith("consumer: Cannot connect to a")
