"""Faults: the changes that make a claim false, one kind per module."""
