"""A table of values, each with what masking leaves of it."""
