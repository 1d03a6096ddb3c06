"""Run background tasks on Celery with PostgreSQL as the only service: the reference system.

The gates prove this system; it imports nothing of the harness. README.md in this folder describes
how to run it.
"""
