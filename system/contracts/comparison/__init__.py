"""Comparing two documents: what changed between two versions, and whether it breaks a client."""
