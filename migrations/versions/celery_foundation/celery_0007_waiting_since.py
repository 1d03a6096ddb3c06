"""Add the time since when a message waits, for the gauges of queues and the health of consumers.

It is the time of the insert, of a scheduled message's release, or of a return to the queue. The
default serves a stock publisher too. Messages that wait during the upgrade count from then on.
"""

from alembic import op

revision = "celery_0007"
down_revision = "celery_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "ALTER TABLE kombu_message ADD COLUMN waiting_since timestamptz NOT NULL DEFAULT now()"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE kombu_message DROP COLUMN waiting_since")
