"""The options of the transport: names and values are checked before it connects."""

from __future__ import annotations

import pytest

from system.errors import ConfigurationError
from system.transport.options import Options, options_from


def test_given_options_replace_the_defaults() -> None:
    """A given option replaces its default, and the other options keep theirs."""
    assert options_from({}) == Options()
    assert options_from({"lease": 7, "max_deliveries": 2}) == Options(lease=7, max_deliveries=2)


def test_options_of_kombu_and_celery_are_ignored() -> None:
    """Retry options, which kombu and Celery read from the same mapping, are no error."""
    assert options_from({"max_retries": 3, "interval_start": 0, "callback": print}) == Options()


def test_unknown_option_is_named_with_the_known_ones() -> None:
    """A misspelt name is refused, and the message lists the known names."""
    with pytest.raises(ConfigurationError, match="got leese, visibility, expected batch, heart"):
        options_from({"visibility": 1, "leese": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("lease", 0), ("lease", -1), ("lease", "3"), ("lease", True), ("lease", None)),
        *(("batch", 1.5), ("batch", 0), ("max_deliveries", 2.0), ("heartbeat", float("nan"))),
    ],
)
def test_value_that_is_no_number_above_zero_is_refused(name: str, value: object) -> None:
    """Times are numbers above zero, counts are whole numbers above zero; others are refused."""
    with pytest.raises(ConfigurationError, match=f"{name}: got .*, expected a .*above zero"):
        options_from({name: value})
