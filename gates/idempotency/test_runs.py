"""Gate idempotency: the rows that runs of the same job, and of other jobs, leave."""

from __future__ import annotations

from gateproof import (
    Ids,
    Stack,
    Sut,
    criterion,
    falsified_by,
    inject,
    migration,
    sql,
    wait_until,
)

from .jobs import (
    JOBS_REVISION,
    LANDING,
    SAME_END,
    SAME_START,
    TABLE,
    TASK,
    describe,
    identity_of,
    jobs_of,
    run,
    window,
)

AT_ONCE = 2
WAIT_DEADLINE_S = 10.0

# This lock blocks writers and lets readers pass: both runs have read before either one writes.
HOLD = f"LOCK TABLE {TABLE} IN SHARE ROW EXCLUSIVE MODE"
WAITING = """
    SELECT a.pid, a.usename, left(a.query, 60) AS query
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.wait_event_type = 'Lock'
        AND %s = ANY(pg_blocking_pids(a.pid))
"""

# Reads first, waits, then writes: correct for runs one after another, wrong for two at once.
CHECK_THEN_INSERT = identity_of(
    "tenant_id, window_start, window_end, model_version, request_id"
) + (
    f"; CREATE FUNCTION check_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    f" IF EXISTS (SELECT FROM {TABLE} WHERE tenant_id = NEW.tenant_id"
    " AND window_start = NEW.window_start AND window_end = NEW.window_end"
    " AND model_version = NEW.model_version) THEN RETURN NULL; END IF;"
    " PERFORM pg_sleep(0.3); RETURN NEW; END $$;"
    f" CREATE TRIGGER check_first BEFORE INSERT ON {TABLE}"
    " FOR EACH ROW EXECUTE FUNCTION check_first()"
)


@criterion("IDM-01", needs=("database", "celery", "worker", "ping", "task", "tenancy"))
@falsified_by(
    sql(
        "identity-with-request",
        identity_of("tenant_id, window_start, window_end, model_version, request_id"),
        landing=LANDING,
    ),
    expect="job rows after the second run of one window: got 2",
)
@falsified_by(
    inject(
        "offset-dropped",
        "alter-argument",
        argument="window_start",
        pattern=r"[+]\d\d:\d\d$",
        replacement="",
    ),
    expect="job rows after the third run of one window: got 2",
)
def test_a_second_run_of_a_window_adds_no_row(stack: Stack, sut: Sut, ids: Ids) -> None:
    """A window keeps its one row when it runs again, also with its times in another notation."""
    assert stack.worker.alive, "worker: got one that ended, expected one that runs"
    tenant, model = ids.uuid(), ids.slug("model")
    arguments = window(sut, tenant, model=model)
    respelled = {**arguments, "window_start": SAME_START, "window_end": SAME_END}
    kept = None
    for number, sent in (("first", arguments), ("second", arguments), ("third", respelled)):
        ended = run(stack, sent)
        jobs = jobs_of(stack, sut, tenant)
        assert len(jobs) == 1, (
            f"job rows after the {number} run of one window: got {len(jobs)}, expected 1"
            f" (it ended as {describe(ended)})"
        )
        assert ended.state == "SUCCESS", (
            f"{number} run of one window: got {describe(ended)}, expected SUCCESS"
        )
        job = jobs[0]
        kept = kept or job["id"]
        assert job["id"] == kept, f"row of the {number} run: got {job['id']}, expected {kept}"
        assert job["request_id"] == ended.task_id, (
            f"request of the job after the {number} run: got {job['request_id']}, expected that of"
            f" the run, {ended.task_id}"
        )


@criterion("IDM-02", needs=("database", "celery", "worker", "ping", "task", "tenancy"))
@falsified_by(
    inject(
        "each-run-its-own-window",
        "alter-argument",
        argument="window_end",
        pattern=r"\d(?=[+]\d\d:\d\d$)",
        replacement="{number}",
    ),
    expect="job rows after 2 runs of one window at the same time: got 2",
)
@falsified_by(
    sql(
        "check-then-insert",
        CHECK_THEN_INSERT,
        landing=f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{TABLE}'::regclass",
    ),
    expect="job rows after 2 runs of one window at the same time: got 2",
)
def test_runs_of_a_window_at_the_same_time_leave_one_row(
    own_stack: Stack, sut: Sut, ids: Ids
) -> None:
    """Two runs, both blocked just before they write, leave one row, and both succeed."""
    assert own_stack.worker.alive, "worker: got one that ended, expected one that runs"
    tenant, model = ids.uuid(), ids.slug("model")
    arguments = window(sut, tenant, model=model)
    with own_stack.sql.session() as holder:
        holder.query(HOLD)
        sent = [own_stack.tasks.publish(TASK, (), arguments) for _ in range(AT_ONCE)]
        waiting = wait_until(
            lambda: own_stack.sql.query(WAITING, (holder.backend_pid,)).dicts(),
            lambda seen: len(seen) >= AT_ONCE,
            deadline_s=WAIT_DEADLINE_S,
        )
        holder.rollback()
    roles = [session["usename"] for session in waiting]
    assert roles == [sut.worker.role] * AT_ONCE, (
        f"runs that wait to write: got {len(roles)} {roles}, expected {AT_ONCE} at once"
    )
    ended = [own_stack.tasks.result(task_id) for task_id in sent]
    jobs = jobs_of(own_stack, sut, tenant)
    outcomes = ", ".join(describe(one) for one in ended)
    assert len(jobs) == 1, (
        f"job rows after {AT_ONCE} runs of one window at the same time: got {len(jobs)},"
        f" expected 1 (they ended as {outcomes})"
    )
    states = [one.state for one in ended]
    assert states == ["SUCCESS"] * AT_ONCE, (
        f"runs of one window at the same time: got {outcomes}, expected SUCCESS of each"
    )


@criterion("IDM-03", needs=("database", "celery", "worker", "ping", "task", "tenancy"))
@falsified_by(
    sql(
        "identity-without-model",
        identity_of("tenant_id, window_start, window_end"),
        landing=LANDING,
    ),
    expect="model versions among the job rows of one window: got 1",
)
@falsified_by(
    inject(
        "major-version-only",
        "alter-argument",
        argument="model_version",
        pattern=r"-.*",
        replacement="",
    ),
    expect="model versions among the job rows of one window: got 1 ['model']",
)
def test_another_model_version_is_another_row(stack: Stack, sut: Sut, ids: Ids) -> None:
    """Two model versions, each run twice for one window, leave one row each."""
    assert stack.worker.alive, "worker: got one that ended, expected one that runs"
    tenant = ids.uuid()
    models = sorted((ids.slug("model"), ids.slug("model")))
    ended = [run(stack, window(sut, tenant, model=model)) for model in (*models, *models)]
    outcomes = ", ".join(describe(one) for one in ended)
    jobs = jobs_of(stack, sut, tenant)
    seen = sorted({job["model_version"] for job in jobs})
    assert seen == models, (
        f"model versions among the job rows of one window: got {len(seen)} {seen}, expected"
        f" {len(models)} {models} (the runs ended as {outcomes})"
    )
    assert len(jobs) == len(models), (
        f"job rows of {len(models)} model versions: got {len(jobs)}, expected {len(models)}"
    )
    windows = {(job["window_start"], job["window_end"]) for job in jobs}
    assert len(windows) == 1, f"windows of the two rows: got {len(windows)}, expected the same one"


@criterion("IDM-05", needs=("database", "celery", "worker", "ping", "task", "tenancy"))
@falsified_by(
    sql(
        "identity-without-tenant",
        identity_of("window_start, window_end, model_version"),
        landing=LANDING,
    ),
    expect="job rows of tenant B: got 0",
)
@falsified_by(
    migration(
        "windows-must-not-overlap",
        JOBS_REVISION,
        "CHECK (window_end > window_start)\n",
        "CHECK (window_end > window_start),\n"
        "    CONSTRAINT attribution_recompute_jobs_no_overlap EXCLUDE USING gist"
        " (tstzrange(window_start, window_end) WITH &&)\n",
        landing="SELECT conname FROM pg_constraint WHERE contype = 'x'",
    ),
    expect="attribution_recompute_jobs_no_overlap",
)
def test_the_same_window_of_another_tenant_is_another_row(stack: Stack, sut: Sut, ids: Ids) -> None:
    """The same window and model version, run for two tenants, leaves one row for each."""
    assert stack.worker.alive, "worker: got one that ended, expected one that runs"
    model = ids.slug("model")
    tenants = {"A": ids.uuid(), "B": ids.uuid()}
    ended = {name: run(stack, window(sut, tenant, model=model)) for name, tenant in tenants.items()}
    for name, tenant in tenants.items():
        jobs = jobs_of(stack, sut, tenant)
        assert len(jobs) == 1, (
            f"job rows of tenant {name}: got {len(jobs)}, expected 1"
            f" (its run ended as {describe(ended[name])})"
        )
        assert jobs[0]["request_id"] == ended[name].task_id, (
            f"request of tenant {name}'s job: got {jobs[0]['request_id']}, expected its own run"
        )
    rows = stack.sql.query(f"SELECT id FROM {TABLE} WHERE model_version = %s", (model,)).count
    assert rows == len(tenants), f"job rows of the window: got {rows}, expected {len(tenants)}"
