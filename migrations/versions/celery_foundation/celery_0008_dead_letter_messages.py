"""Add to dead-letter rows what their message is besides its arguments.

Rows of before stay as they are: nothing else of their messages is known.

- `options`: chain, links, error links, group, time limits, headers and more, masked like the
  arguments; their original is in `sealed` too;
- `expires_at`: when the message expires. A replay of a selection leaves an expired row out; one
  whose id is given is replayed.

Reconciliation leaves out the stored failures of tasks that never ran (their result has the key
`system_not_run`): nothing of them is known, and the task that failed before them has a row.

The functions are changed where they stand, whatever else a revision changes in them.
"""

from alembic import op

revision = "celery_0008"
down_revision = "celery_0007"
branch_labels = None
depends_on = None

_COLUMNS = """
ALTER TABLE worker_failed_jobs
    ADD COLUMN options json NOT NULL DEFAULT '{}',
    ADD COLUMN expires_at timestamptz;
"""

# Without its options a replay would lose the rest of the workflow.
_UNDO = r"""
UPDATE worker_failed_jobs SET replayable = false, notes = concat_ws(
    E'\n', notes, 'cannot be replayed: its chain, links or limits were dropped by a downgrade'
)
WHERE replayable AND options::text <> '{}';
ALTER TABLE worker_failed_jobs DROP COLUMN options, DROP COLUMN expires_at;
"""

_CHANGE = """
DO $change$
DECLARE
    definition text := pg_get_functiondef('public.{function}'::regproc);
BEGIN
    IF strpos(definition, $text${before}$text$) = 0 THEN
        RAISE EXCEPTION 'function {function}: got no %, expected one', $text${before}$text$;
    END IF;
    EXECUTE replace(definition, $text${before}$text$, $text${after}$text$);
END
$change$
"""

_REPLAYABLE = "o.status = 'pending' AND o.replayable\n"
_NOT_EXPIRED = f"""{_REPLAYABLE}\
            AND (ids IS NOT NULL OR o.expires_at IS NULL OR o.expires_at > now())
"""
_NO_REPLAY = "AND NOT starts_with(r.task_id, 'replay-')\n"
# A key, as no text inside of JSON can be: its quotes would be escaped.
_RAN = f"""{_NO_REPLAY}\
        AND (r.result IS NULL OR position('"system_not_run": true'::bytea IN r.result) = 0)
"""
CHANGES = (
    ("claim_dead_letters", _REPLAYABLE, _NOT_EXPIRED),
    ("failures_without_letter", _NO_REPLAY, _RAN),
)
"""Function, text before, text after."""


def upgrade() -> None:
    op.execute(_COLUMNS)
    for function, before, after in CHANGES:
        op.execute(_CHANGE.format(function=function, before=before, after=after))


def downgrade() -> None:
    for function, before, after in CHANGES:
        op.execute(_CHANGE.format(function=function, before=after, after=before))
    op.execute(_UNDO)
