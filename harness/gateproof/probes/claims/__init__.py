"""Premises and claims about the system: a check states them, and each is recorded."""
