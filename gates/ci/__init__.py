"""Gate ci."""
