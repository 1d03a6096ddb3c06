"""Seals a run into a bundle."""
