"""Row-level security of the notices."""

from __future__ import annotations

from django.db import migrations

from school.security import secured


class Migration(migrations.Migration):
    """Secure the table."""

    dependencies = (("notices", "0001_initial"),)
    operations = (secured("notices_notice"),)
