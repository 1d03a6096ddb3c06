"""Mutation testing of gates: small defects of a system, and the checks that see them."""
