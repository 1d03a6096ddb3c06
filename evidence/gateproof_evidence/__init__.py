"""What was seen, what follows from it, and the sealed bundle that carries both.

A pure library: it knows no pytest, no Celery and no database. The harness records through it,
the command line verifies with it, and both apply the same rules.
"""
