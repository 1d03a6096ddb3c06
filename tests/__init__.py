"""Tests of the project itself, in tiers."""
