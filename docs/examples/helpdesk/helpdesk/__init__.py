"""A helpdesk for several workspaces: tickets come in over HTTP, and jobs answer them.

The system of the tutorial "Prove your own system in an hour". It is small, and made like many
others: Flask, Celery with its stock transport on PostgreSQL, row-level security, plain SQL.
"""
