"""Gate broker."""
