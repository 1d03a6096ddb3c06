"""Faults: the changes that make a claim false, one kind a file."""
