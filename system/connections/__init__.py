"""Connections to PostgreSQL: the engine of tasks, what a forked child inherits, text to store."""
