"""Gate process."""
