"""Additions to a sealed bundle: sign-offs and timestamps."""
