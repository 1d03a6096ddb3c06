"""Gate idempotency: the rows that runs of the same job, and of other jobs, leave."""

from __future__ import annotations

from gateproof import (
    Ids,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    inject,
    migration,
    premise,
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

ROWS, ROWS_AT_ONCE = "job rows of the window", "job rows after runs at the same time"
MODELS, OUTCOME = "model versions of the job rows", "outcome of the run"
"""Names of claims that falsifiers predict."""

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
    expect=(ROWS, "second run", "got 2"),
)
@falsified_by(
    inject(
        "offset-dropped",
        "alter-argument",
        argument="window_start",
        pattern=r"[+]\d\d:\d\d$",
        replacement="",
    ),
    expect=(ROWS, "third run", "got 2"),
)
def test_a_second_run_of_a_window_adds_no_row(stack: Stack, sut: Sut, ids: Ids) -> None:
    """A window keeps its one row when it runs again, also with its times in another notation."""
    premise("the worker runs", got=stack.worker.alive, expected=True)
    tenant, model = ids.uuid(), ids.slug("model")
    arguments = window(sut, tenant, model=model)
    respelled = {**arguments, "window_start": SAME_START, "window_end": SAME_END}
    kept = None
    for number, sent in (("first", arguments), ("second", arguments), ("third", respelled)):
        ended = run(stack, sent)
        jobs = jobs_of(stack, sut, tenant)
        one_row = claim(ROWS, on=f"{number} run", got=len(jobs), expected=1)
        ran = claim(OUTCOME, on=f"{number} run", got=describe(ended), expected="SUCCESS")
        if not (one_row and ran):
            return
        job = jobs[0]
        kept = kept or job["id"]
        claim("id of the job row", on=f"{number} run", got=job["id"], expected=kept)
        request = job["request_id"]
        claim("request of the job", on=f"{number} run", got=request, expected=ended.task_id)


@criterion("IDM-02", needs=("database", "celery", "worker", "ping", "task", "tenancy"))
@falsified_by(
    inject(
        "each-run-its-own-window",
        "alter-argument",
        argument="window_end",
        pattern=r"\d(?=[+]\d\d:\d\d$)",
        replacement="{number}",
    ),
    expect=(ROWS_AT_ONCE, "", "got 2"),
)
@falsified_by(
    sql(
        "check-then-insert",
        CHECK_THEN_INSERT,
        landing=f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{TABLE}'::regclass",
    ),
    expect=(ROWS_AT_ONCE, "", "got 2"),
)
def test_runs_of_a_window_at_the_same_time_leave_one_row(
    own_stack: Stack, sut: Sut, ids: Ids
) -> None:
    """Two runs, both blocked just before they write, leave one row, and both succeed."""
    premise("the worker runs", got=own_stack.worker.alive, expected=True)
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
    expected = [sut.worker.role] * AT_ONCE
    premise("roles of the runs that wait to write at once", got=roles, expected=expected)
    ended = [own_stack.tasks.result(task_id) for task_id in sent]
    jobs = jobs_of(own_stack, sut, tenant)
    claim(ROWS_AT_ONCE, got=len(jobs), expected=1)
    outcomes = [describe(one) for one in ended]
    claim("outcomes of runs at the same time", got=outcomes, expected=["SUCCESS"] * AT_ONCE)


@criterion("IDM-03", needs=("database", "celery", "worker", "ping", "task", "tenancy"))
@falsified_by(
    sql(
        "identity-without-model",
        identity_of("tenant_id, window_start, window_end"),
        landing=LANDING,
    ),
    expect=(MODELS, "", "got model-"),
)
@falsified_by(
    inject(
        "major-version-only",
        "alter-argument",
        argument="model_version",
        pattern=r"-.*",
        replacement="",
    ),
    expect=(MODELS, "", "got model, expected"),
)
def test_another_model_version_is_another_row(stack: Stack, sut: Sut, ids: Ids) -> None:
    """Two model versions, each run twice for one window, leave one row each."""
    premise("the worker runs", got=stack.worker.alive, expected=True)
    tenant = ids.uuid()
    models = sorted((ids.slug("model"), ids.slug("model")))
    for model in (*models, *models):
        run(stack, window(sut, tenant, model=model))
    jobs = jobs_of(stack, sut, tenant)
    claim(MODELS, got={job["model_version"] for job in jobs}, expected=models)
    claim(ROWS, on="two model versions", got=len(jobs), expected=len(models))
    windows = {(job["window_start"], job["window_end"]) for job in jobs}
    claim("windows of the job rows", got=len(windows), expected=1)


@criterion("IDM-05", needs=("database", "celery", "worker", "ping", "task", "tenancy"))
@falsified_by(
    sql(
        "identity-without-tenant",
        identity_of("window_start, window_end, model_version"),
        landing=LANDING,
    ),
    expect=(ROWS, "tenant B", "got 0"),
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
    expect=(OUTCOME, "tenant B", "attribution_recompute_jobs_no_overlap"),
)
def test_the_same_window_of_another_tenant_is_another_row(stack: Stack, sut: Sut, ids: Ids) -> None:
    """The same window and model version, run for two tenants, leaves one row for each."""
    premise("the worker runs", got=stack.worker.alive, expected=True)
    model = ids.slug("model")
    tenants = {"A": ids.uuid(), "B": ids.uuid()}
    ended = {name: run(stack, window(sut, tenant, model=model)) for name, tenant in tenants.items()}
    for name, tenant in tenants.items():
        jobs = jobs_of(stack, sut, tenant)
        on, outcome = f"tenant {name}", describe(ended[name])
        claim(OUTCOME, on=on, got=outcome, expected="SUCCESS")
        if claim(ROWS, on=on, got=len(jobs), expected=1):
            request = jobs[0]["request_id"]
            claim("request of the job", on=on, got=request, expected=ended[name].task_id)
    rows = stack.sql.query(f"SELECT id FROM {TABLE} WHERE model_version = %s", (model,)).count
    claim(ROWS, on="all tenants", got=rows, expected=len(tenants))
