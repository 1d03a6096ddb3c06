"""Row-level security of the register."""

from __future__ import annotations

from django.db import migrations

from school.security import secured

VIEW = """
CREATE VIEW register_unexcused WITH (security_invoker = true) AS
SELECT pupil_id, count(*) AS days FROM register_absence WHERE NOT excused GROUP BY pupil_id;
"""


class Migration(migrations.Migration):
    """Secure the tables, and make a view that reads with the privileges of its reader."""

    dependencies = (("register", "0001_initial"),)
    operations = (
        secured("register_pupil"),
        secured("register_absence"),
        migrations.RunSQL(VIEW, "DROP VIEW register_unexcused"),
    )
