"""Records of observations, the judgement that follows from them, and the sealed bundle of both.

A pure library: it knows no pytest, no Celery and no database. The harness records through it,
the command line verifies with it, and both apply the same rules.
"""
