"""Gate schema."""
