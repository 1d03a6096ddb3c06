"""Mutation testing of the gates: mutants of a system, and which claims notice them."""
