"""Verification of a sealed bundle, without trust in its own claims."""
