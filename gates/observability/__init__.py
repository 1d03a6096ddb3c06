"""Gate observability."""
