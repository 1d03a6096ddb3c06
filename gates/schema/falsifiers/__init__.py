"""Changes to Alembic in the process that migrates: what a migration forgets."""
