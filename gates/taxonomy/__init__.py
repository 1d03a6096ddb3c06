"""Gate taxonomy."""
