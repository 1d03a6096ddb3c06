"""Gate rls."""
