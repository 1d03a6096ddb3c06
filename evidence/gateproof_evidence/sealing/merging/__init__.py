"""Merges the bundles of a run's shards into one bundle."""
