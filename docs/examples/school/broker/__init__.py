"""The tables of Celery's transport: a migration makes them, not the worker."""
