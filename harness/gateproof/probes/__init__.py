"""Probes, with which checks observe the system: each call adds one observation to the journal."""
