"""Shared parts of tables of cases: reading one, and the form of the rows of the transport."""
