"""Gate import."""
