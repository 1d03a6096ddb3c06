"""Rename `celery_task_failures` to `worker_failed_jobs`: table, constraints and indexes.

Rows, policies, privileges and the trigger belong to the table, whatever its name, and stay. Objects
with the old name are found in the catalogue rather than listed, because PostgreSQL 18 also names
NOT NULL constraints, and 16 does not.
"""

from alembic import op

revision = "celery_0003"
down_revision = "celery_0002"
branch_labels = None
depends_on = None

OLD, NEW = "celery_task_failures", "worker_failed_jobs"

# Renaming a constraint renames the index behind it, so the second loop finds only the plain ones.
_RENAME = """
DO $$
DECLARE
    found record;
BEGIN
    ALTER TABLE {old} RENAME TO {new};
    FOR found IN
        SELECT conname FROM pg_catalog.pg_constraint
        WHERE conrelid = '{new}'::regclass AND strpos(conname, '{old}') > 0
    LOOP
        EXECUTE format('ALTER TABLE {new} RENAME CONSTRAINT %I TO %I',
                       found.conname, replace(found.conname, '{old}', '{new}'));
    END LOOP;
    FOR found IN
        SELECT i.relname FROM pg_catalog.pg_index x
        JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
        WHERE x.indrelid = '{new}'::regclass AND strpos(i.relname, '{old}') > 0
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I',
                       found.relname, replace(found.relname, '{old}', '{new}'));
    END LOOP;
END
$$
"""


def upgrade() -> None:
    op.execute(_RENAME.format(old=OLD, new=NEW))


def downgrade() -> None:
    op.execute(_RENAME.format(old=NEW, new=OLD))
