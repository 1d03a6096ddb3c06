"""Derives a run and seals it into a bundle."""
