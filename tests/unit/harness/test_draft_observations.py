"""A watched worker shows names of metrics and columns of failed tasks; nothing if in doubt."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from gateproof.draft.database import Listed, listed
from gateproof.draft.history import former_name
from gateproof.draft.watched.endpoint import are_metrics, is_health
from gateproof.draft.watched.metrics import Names, Ran, changed_gauge, names_of
from gateproof.draft.watched.rows import Failed, columns_of
from gateproof.probes.http import Exchange

RAN = Ran(task="ping", succeeded=5, failed=2, retried=1, busy_s=0.3, elapsed_s=4.0)


def counter(name: str, value: float, *, label: str = "job", task: str = "ping") -> str:
    """Return a counter in the text format."""
    return f'# TYPE {name}_total counter\n{name}_total{{{label}="{task}"}} {value}\n'


def histogram(name: str, number: float, total: float, *, label: str = "job") -> str:
    """Return a histogram in the text format."""
    return (
        f"# TYPE {name} histogram\n"
        f'{name}_bucket{{{label}="ping",le="1.0"}} {number}\n'
        f'{name}_bucket{{{label}="ping",le="+Inf"}} {number}\n'
        f'{name}_count{{{label}="ping"}} {number}\n'
        f'{name}_sum{{{label}="ping"}} {total}\n'
    )


BEGUN, DONE = counter("begun", 8), counter("done", 5)
LOST, TOOK = counter("lost", 2), histogram("took", 8, 0.4)
USUAL = BEGUN + DONE + LOST + TOOK + counter("again", 1)


def test_metrics_are_found_by_the_numbers_of_runs() -> None:
    """Each counter is the one that rose by its number, whatever its name is."""
    assert names_of("", USUAL, RAN) == Names(
        started="begun_total",
        success="done_total",
        failure="lost_total",
        duration="took",
        task_label="job",
        buckets=("1.0", "+Inf"),
    )


def test_counts_from_before_are_subtracted() -> None:
    """A worker that has run tasks before is read by the difference."""
    before = counter("begun", 3) + counter("done", 3)
    after = counter("begun", 11) + counter("done", 8)
    found = names_of(before, after, RAN)
    assert (found.started, found.success) == ("begun_total", "done_total")


@pytest.mark.parametrize(
    ("more", "key"),
    [
        (counter("received", 8), "started"),
        (counter("stored", 5), "success"),
        (counter("alarms", 2), "failure"),
        (histogram("waited", 8, 0.5), "duration"),
    ],
)
def test_metric_that_another_one_behaves_like_is_not_claimed(more: str, key: str) -> None:
    """Two metrics that rose by the same number leave the key to a person."""
    assert getattr(names_of("", USUAL + more, RAN), key) == ""


@pytest.mark.parametrize(
    "text",
    [
        USUAL.replace('"ping"', '"other"'),
        USUAL.replace('job="ping"', 'job="ping",host="a"'),
        USUAL.replace(" 8", " 9").replace(" 5", " 6").replace(" 2", " 3"),
        "<html>no metrics</html>",
        "",
    ],
    ids=["another-task", "split-by-a-label", "other-numbers", "no-metrics", "nothing"],
)
def test_metrics_that_do_not_count_the_runs_are_not_claimed(text: str) -> None:
    """Names alone say nothing."""
    found = names_of("", text, RAN)
    assert (found.started, found.success, found.failure, found.duration) == ("", "", "", "")


@pytest.mark.parametrize("total", [400.0, 0.01])
def test_histogram_of_something_else_than_seconds_is_not_claimed(total: float) -> None:
    """Milliseconds are too many for the time that passed, and bytes or nothing fit no held run."""
    text = BEGUN + histogram("took", 8, total)
    assert names_of("", text, RAN).duration == ""


def test_counters_under_two_labels_are_not_claimed() -> None:
    """A description has one name for the label of the task."""
    text = BEGUN + histogram("took", 8, 0.4, label="task")
    assert names_of("", text, RAN) == Names()


def gauge(name: str, value: float) -> str:
    """Return a gauge in the text format."""
    return f"# TYPE {name} gauge\n{name} {value}\n"


def rose(old: float, new: float) -> bool:
    """Return whether a gauge rose from zero to two."""
    return (old, new) == (0, 2)


def test_gauge_that_alone_changed_as_expected_is_found() -> None:
    """A gauge that was there before and one that is new count alike; two of them are none."""
    before = gauge("waiting", 0) + gauge("processes", 2)
    after = gauge("waiting", 2) + gauge("processes", 2)
    assert changed_gauge(before, after, rose) == "waiting"
    assert changed_gauge("", gauge("waiting", 2), rose) == "waiting"
    assert changed_gauge(before, after + gauge("busy", 2), rose) == ""
    assert changed_gauge(before, before, rose) == ""


# --- failed tasks ------------------------------------------------------------------------------

FAILED = Failed(
    task_id="0a1b",
    task="ping",
    queue="desk",
    kwargs={"fail": True},
    error="ProbeFailureError",
    message="asked to",
    tenant=70,
    others=(),
)


def row(**more: Any) -> dict[str, Any]:
    """Return the row of a failed task in a table with names of its own."""
    return {
        "number": 1,
        "job": "0a1b",
        "name": "ping",
        "place": "desk",
        "given": [],
        "named": {"fail": True, "depot": 70},
        "depot": 70,
        "words": "asked to",
        "error": "shop.ProbeFailureError",
        "trace": "Traceback (most recent call last): ...",
        "lost_at": dt.datetime.now(dt.UTC).isoformat(),
        "state": "lost",
        **more,
    }


def states(column: str = "state", default: str = "lost") -> Listed:
    """Return a column with a list of values."""
    return Listed(
        schema="public",
        table="t",
        column=column,
        values=("lost", "found"),
        default=default,
        origin="a check of the column",
    )


def test_columns_of_failed_tasks_are_found_by_their_values() -> None:
    """Each column is the one with the published value."""
    assert columns_of(row(), FAILED, {"state": states()}) == {
        "task_id": "job",
        "task_name": "name",
        "queue": "place",
        "tenant_id": "depot",
        "args": "given",
        "kwargs": "named",
        "exception_class": "error",
        "error_message": "words",
        "traceback": "trace",
        "failed_at": "lost_at",
        "status": "state",
    }


def test_json_in_a_column_of_text_is_read() -> None:
    """A table can keep arguments as text."""
    found = columns_of(row(given="[]", named='{"fail": true}'), FAILED, {})
    assert (found["args"], found["kwargs"]) == ("given", "named")


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"copy": "0a1b"}, "task_id"),
        ({"made_at": lambda: dt.datetime.now(dt.UTC)}, "failed_at"),
        ({"lost_at": "2020-01-01T00:00:00+00:00"}, "failed_at"),
        ({"lost_at": lambda: dt.datetime.now(dt.UTC).replace(tzinfo=None)}, "failed_at"),
        ({"named": {}}, "kwargs"),
        ({"words": "something failed"}, "error_message"),
    ],
    ids=["two-ids", "two-times", "old", "naive", "arguments-lost", "another-message"],
)
def test_column_that_is_not_the_only_one_is_not_claimed(more: dict[str, Any], name: str) -> None:
    """Without exactly one column with the value, the key is left to a person."""
    # Times are of now: the parameters are made when tests are collected, minutes before.
    values = {key: value().isoformat() if callable(value) else value for key, value in more.items()}
    assert name not in columns_of(row(**values), FAILED, {})


def test_one_of_several_columns_is_taken_by_a_known_name() -> None:
    """A correlation id can equal the id of the task."""
    found = columns_of(row(task_id="0a1b"), FAILED, {})
    assert found["task_id"] == "task_id"


@pytest.mark.parametrize(
    "lists",
    [{"state": states(default="")}, {"state": states(default="found")}, {}],
    ids=["no-default", "another-default", "no-list"],
)
def test_status_without_a_list_and_its_default_is_not_claimed(lists: dict[str, Listed]) -> None:
    """The status of a new row is the default of its list of values."""
    assert "status" not in columns_of(row(), FAILED, lists)


# --- lists of values -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        "CHECK ((state = ANY (ARRAY['new'::text, 'it''s done'::text])))",
        "CHECK (((state)::text = ANY ((ARRAY['new'::varchar, 'it''s done'::varchar])::text[])))",
        "CHECK ((\"state\" = ANY (ARRAY['new'::text, 'it''s done'::text])))",
        "CHECK ((VALUE = ANY (ARRAY['new'::text, 'it''s done'::text])))",
    ],
)
def test_list_of_values_is_read_from_a_check(check: str) -> None:
    """A check of one column with listed values is read in each form that PostgreSQL prints."""
    found = listed(column([check]))
    assert found is not None
    assert (found.values, found.default) == (("new", "it's done"), "new")


@pytest.mark.parametrize(
    "checks",
    [
        [],
        ["CHECK ((state <> ALL (ARRAY['new'::text, 'done'::text])))"],
        ["CHECK ((char_length(state) > 3))"],
        ["CHECK (((state = ANY (ARRAY['new'::text])) OR (other IS NULL)))"],
        [
            "CHECK ((state = ANY (ARRAY['new'::text, 'a'::text])))",
            "CHECK ((state = ANY (ARRAY['new'::text, 'b'::text])))",
        ],
    ],
    ids=["none", "forbidden-values", "a-length", "a-condition", "two-lists"],
)
def test_check_that_is_no_plain_list_is_not_claimed(checks: list[str]) -> None:
    """A rule that says more than a list is for a person to read."""
    assert listed(column(checks)) is None


def test_enum_has_its_labels_and_a_default_outside_of_a_list_is_none() -> None:
    """Labels of a type are a list in their order; a default must be one of the values."""
    found = listed(column([], labels=["new", "done"], default="'new'::shop.state"))
    assert found is not None
    assert (found.values, found.default) == (("new", "done"), "new")
    other = listed(column([], labels=["new", "done"], default="choose_state()"))
    assert other is not None
    assert other.default == ""


def column(checks: list[str], **more: Any) -> dict[str, Any]:
    """Return a row of the catalogue about one column."""
    plain = {"schema": "public", "name": "t", "column": "state", "default": "'new'::text"}
    return {**plain, "labels": [], "checks": checks, **more}


@pytest.mark.parametrize(
    ("names", "former"),
    [
        (["public.failures", "public.jobs"], "failures"),
        (["public.failures", "public.errors", "public.jobs", "public.jobs"], "errors"),
        (["public.jobs", "public.jobs"], ""),
    ],
)
def test_former_name_is_the_last_other_one(names: list[str], former: str) -> None:
    """A table that only ever had one name has no former one."""
    assert former_name("jobs", names) == former


# --- endpoints -----------------------------------------------------------------------------------


def answer(status: int, body: str) -> Exchange:
    """Return a response."""
    return Exchange(
        method="GET",
        url="http://127.0.0.1/",
        status=status,
        headers={},
        body=body,
        error="",
        duration_s=0.0,
        redactions=(),
    )


@pytest.mark.parametrize(
    ("status", "body", "metrics", "health"),
    [
        (200, USUAL, True, False),
        (200, '{"status": "ok"}', False, True),
        (503, '{"status": "broken"}', False, True),
        (404, '{"error": "no such page"}', False, False),
        (200, "<html># TYPE</html>", False, False),
        (0, "", False, False),
    ],
)
def test_endpoint_counts_by_the_form_of_its_answer(
    status: int, body: str, metrics: bool, health: bool
) -> None:
    """A page that answers anything is neither metrics nor a health report."""
    found = answer(status, body)
    assert (are_metrics(found), is_health(found)) == (metrics, health)
