"""Shared by all other packages: errors, waiting, the description of the system."""
