"""Parts of tasks that need no database."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from system.tasks import maintenance
from system.tasks.attribution import moment


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-01-02T03:00:00+02:00", datetime(2026, 1, 2, 1, tzinfo=UTC)),
        (datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC)),  # noqa: DTZ001 (the case)
        (
            datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=1))),
            datetime(2026, 1, 2, tzinfo=UTC),
        ),
    ],
)
def test_moment_is_aware(given: str | datetime, expected: datetime) -> None:
    """A time is aware, and UTC if it has no offset."""
    assert moment(given, name="window_start") == expected


@pytest.mark.parametrize("given", ["", "soon", None, 7])
def test_moment_refuses_an_invalid_time(given: str) -> None:
    """An invalid time is refused with the argument's name."""
    with pytest.raises(ValueError, match=r"window_end: got .*, expected an ISO 8601 time"):
        moment(given, name="window_end")


@pytest.mark.parametrize("given", [0, -1, 1.5, "3", True, None])
def test_retention_refuses_an_invalid_number_of_days(given: object) -> None:
    """A retention that is no whole number of days from 1 is refused."""
    function: Any = inspect.unwrap(maintenance.enforce_data_retention.run)
    with pytest.raises(ValueError, match=r"retention_days: got .*, expected a whole number from 1"):
        function("tenant", given, connection=None)


@pytest.mark.parametrize("text", ["4111 1111 1111 1111", "4111-1111-1111-1111", "378282246310005"])
def test_card_pattern_finds_cards(text: str) -> None:
    """Card numbers are found with and without separators."""
    assert re.search(maintenance.CARD_NUMBER, f'{{"n": "{text}"}}')


@pytest.mark.parametrize("text", ["1700000000000", "123 456", "2026-01-02T03:04:05.123456"])
def test_card_pattern_ignores_other_numbers(text: str) -> None:
    """Times and short numbers are not found."""
    assert not re.search(maintenance.CARD_NUMBER, f'{{"n": "{text}"}}')
