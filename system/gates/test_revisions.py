"""Gate schema: the schema that the revisions make, and the way back of each revision alone.

The way down through all revisions ends with an empty database: what a revision leaves on a table of
an earlier one goes with the table. So each revision is undone while the others are there.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from gateproof import Stack, at_least_one, claim, criterion, falsified_by, migration, sql

from .definitions import LINES, differences, read

REVIEWED = Path(__file__).with_name("schema.toml")
UNDONE = "differences from the schema before the revision once it is undone"
AGAIN = "differences from the first time once the revision is made again"
DIFFERENT = "differences from the reviewed schema"
"""Names of claims that falsifiers predict."""

VERSIONS = "migrations/versions"
DURABLE = f"{VERSIONS}/celery_foundation/celery_0004_durable_transport.py"
TIMES = f"{VERSIONS}/celery_foundation/celery_0006_result_times.py"
DAILY = f"{VERSIONS}/core/core_0003_attribution_daily.py"
EVENTS = f"{VERSIONS}/ingestion/ingestion_0001_events.py"
MESSAGES = f"{VERSIONS}/celery_foundation/celery_0008_dead_letter_messages.py"

# Make each revision, undo it, and make it again, one after another in one process; print the
# definitions before, after, after the way back, and after the second time. A step that fails is the
# last, and its error stands for the definitions.
_WALK = """
import json, os, sys
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from system.settings import sqlalchemy_url

engine = create_engine(sqlalchemy_url(os.environ["DATABASE_URL"], name="DATABASE_URL"))
script = ScriptDirectory.from_config(Config("migrations/alembic.ini"))
LINES = text(sys.argv[1].replace(":", r"\\:"))

def walk(revision):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        for step in (None, "upgrade", "downgrade", "upgrade"):
            if step:
                try:
                    with connection.begin(), Operations.context(context):
                        getattr(revision.module, step)()
                except Exception as error:
                    yield [[f"error of {step}", str(error).splitlines()[0]]]
                    return
            yield [list(row) for row in connection.execute(LINES)]
            connection.rollback()

found = {}
for revision in reversed(list(script.walk_revisions())):
    found[revision.revision] = list(walk(revision))
    if len(found[revision.revision][-1]) == 1:
        break
print(json.dumps(found))
"""


@criterion("SCH-09", needs=("database", "migrations"))
@falsified_by(
    migration(
        "columns-left",
        EVENTS,
        function="downgrade",
        body="op.execute(_UNDO.partition(';')[0])",
    ),
    expect=(UNDONE, "ingestion_0001", "left over"),
)
@falsified_by(
    migration(
        "policy-left",
        DAILY,
        '    op.execute("DROP POLICY aggregator_read ON attribution_events")\n',
    ),
    expect=(UNDONE, "core_0003", "left over policy attribution_events.aggregator_read"),
)
@falsified_by(
    migration(
        "functions-left-as-they-are",
        MESSAGES,
        before="function=function, before=after, after=before)",
        after="function=function, before=after, after=after)",
    ),
    expect=(UNDONE, "celery_0008", "changed function"),
)
@falsified_by(
    migration(
        "type-kept-on-the-way-back",
        TIMES,
        """_convert("timestamp", "r.date_done AT TIME ZONE 'UTC'")""",
        """_convert("timestamptz", "r.date_done")""",
    ),
    expect=(UNDONE, "celery_0006", "changed column celery_taskmeta.date_done"),
)
def test_each_revision_can_be_undone_alone(own_stack: Stack) -> None:
    """Each revision, undone while all others before it are there, leaves the schema as it was."""
    database = own_stack.empty_database()
    names = own_stack.sut.migrations.dsn
    owner = own_stack.sut.database.owner
    done = own_stack.process.run(
        [*own_stack.sut.fill(["{python}", "-c"]), _WALK, LINES],
        env={
            name: own_stack.inner_dsn(owner, form=form, database=database)
            for name, form in names.items()
        },
        folder=own_stack.sut.folder,
    )
    cause = f"exit {done.exit_status}: {done.cause[:200]}" if done.exit_status else "exit 0"
    if not claim("end of the walk through the revisions", got=cause, expected="exit 0"):
        return
    walked = json.loads(done.output.splitlines()[-1])
    for revision, states in at_least_one("revisions", walked.items()):
        before, made, *later = map(read, states)
        claim("steps of the revision that work", on=revision, got=len(states) - 1, expected=3)
        for name, state, wanted in zip((UNDONE, AGAIN), later, (before, made), strict=False):
            claim(name, on=revision, got=differences(state, wanted), expected=[])


@criterion("SCH-10", needs="database")
@falsified_by(
    sql(
        "nullable",
        "ALTER TABLE attribution_events ALTER payload DROP NOT NULL",
        landing="SELECT attnotnull FROM pg_attribute WHERE attname = 'payload'"
        " AND attrelid = 'attribution_events'::regclass",
    ),
    expect=(DIFFERENT, "", "changed column attribution_events.payload"),
)
@falsified_by(
    sql(
        "default-lost",
        "ALTER TABLE worker_failed_jobs ALTER due_at DROP DEFAULT",
        landing="SELECT atthasdef FROM pg_attribute WHERE attname = 'due_at'"
        " AND attrelid = 'worker_failed_jobs'::regclass",
    ),
    expect=(DIFFERENT, "", "changed column worker_failed_jobs.due_at"),
)
@falsified_by(
    sql(
        "index-lost",
        "DROP INDEX ix_worker_failed_jobs_due_at",
        landing="SELECT to_regclass('ix_worker_failed_jobs_due_at')",
    ),
    expect=(DIFFERENT, "", "missing index ix_worker_failed_jobs_due_at"),
)
@falsified_by(
    sql(
        "trigger-off",
        "ALTER TABLE kombu_message DISABLE TRIGGER wake_up",
        landing="SELECT tgenabled FROM pg_trigger WHERE tgname = 'wake_up'",
    ),
    expect=(DIFFERENT, "", "changed trigger kombu_message.wake_up"),
)
@falsified_by(
    sql(
        "function-of-the-caller",
        "ALTER FUNCTION dead_letter_backlog() SECURITY INVOKER",
        landing="SELECT prosecdef FROM pg_proc WHERE proname = 'dead_letter_backlog'",
    ),
    expect=(DIFFERENT, "", "changed function dead_letter_backlog"),
)
def test_schema_is_the_reviewed_one(stack: Stack) -> None:
    """The catalogue has exactly the objects of the record, each with its reviewed definition."""
    reviewed = tomllib.loads(REVIEWED.read_text(encoding="utf-8"))
    expected = {
        f"{kind} {name}": text
        for kind, objects in reviewed.items()
        for name, text in objects.items()
    }
    got = read(stack.sql.query(LINES).rows)
    claim(DIFFERENT, got=differences(got, expected), expected=[], over=expected)
