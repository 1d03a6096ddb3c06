"""`python manage.py unmigrate`: take all migrations of all apps back."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection
from django.db.migrations.loader import MigrationLoader


class Command(BaseCommand):
    """Take all migrations back, which Django does for one app at a time."""

    def handle(self, **_options: Any) -> None:
        """Take the migrations of each app back; those that depend on them go with them."""
        for label in sorted(MigrationLoader(connection).migrated_apps):
            call_command("migrate", label, "zero")
