"""The reference system: background work on Celery with PostgreSQL as its only service.

A real instance for the gates to prove; it imports nothing of the harness. README.md in this folder
says what it is and how to run it.
"""
