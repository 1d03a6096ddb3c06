"""Stands in for the client of Redis: that it is imported at all is the fault."""
