"""Forged bundles, one folder for each case; README.md describes the format."""
