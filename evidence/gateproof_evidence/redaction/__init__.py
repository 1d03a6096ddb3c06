"""Redaction of secrets in everything that is recorded: by name, by form, and by known value."""
