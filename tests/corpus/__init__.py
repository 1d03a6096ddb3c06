"""Forged bundles, a directory a case; README.md says how to read one."""
