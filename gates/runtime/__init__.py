"""Gate runtime."""
